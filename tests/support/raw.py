"""Raw HTTP over a plain socket: what went on the wire is what the test wrote, byte for byte.

Every wait has a deadline in seconds and ends in TimeoutError; nothing here retries.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Self, final

from benchmarks.loadgen import response_end

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_WORKER = re.compile(rb"\bfrom worker (\d+)")
_PID = re.compile(rb"\bpid (\d+)")


@final
@dataclass(frozen=True, slots=True)
class Response:
    """One response. `head` ends with the empty line; header names are lower case."""

    status: int
    head: bytes
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        pairs = (line.partition(":") for line in lines)
        return {name.lower(): value.strip() for name, _, value in pairs}

    @property
    def worker(self) -> int:
        """The worker's id, from the demo's answer; AssertionError when it does not say."""
        return self._number(_WORKER)

    @property
    def pid(self) -> int:
        """The worker's pid, from the demo's answer to `/`, `/sleep/S` or `/block/S`."""
        return self._number(_PID)

    @property
    def json(self) -> object:
        return json.loads(self.body)

    def _number(self, pattern: re.Pattern[bytes]) -> int:
        found = pattern.search(self.body)
        if found is None:
            raise AssertionError(f"no {pattern.pattern!r} in {self.status} {self.body!r}")
        return int(found[1])


@final
class RawConnection:
    """One client connection. A context manager; `close()` may be called twice.

    `receive_response` keeps what came after the response for the next call, so pipelined
    responses are read one by one.
    """

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", deadline: float = 5.0, rcvbuf: int = 0
    ) -> None:
        self.deadline = deadline
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(deadline)
        self.buffer = b""
        try:
            self.sock.connect((host, port))
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def local_port(self) -> int:
        port: int = self.sock.getsockname()[1]
        return port

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        linger = b"\x01\0\0\0\0\0\0\0"  # struct linger {1, 0}
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_slowly(self, pieces: Iterable[bytes] | bytes) -> None:
        """Each piece (each byte, of a bytes object) in a segment of its own."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in _single_bytes(pieces) if isinstance(pieces, bytes) else pieces:
            self.sock.sendall(piece)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def receive(self, size: int = 65536, *, deadline: float | None = None) -> bytes:
        """Whatever comes next; b"" at EOF."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        self.sock.settimeout(self.deadline if deadline is None else deadline)
        return self.sock.recv(size)

    def receive_response(
        self, *, deadline: float | None = None, head_only: bool = False
    ) -> Response:
        """One complete response (of a HEAD request with `head_only`).

        EOFError when the connection ends first; its message holds what had come.
        """
        until = monotonic() + (self.deadline if deadline is None else deadline)
        while (end := _end(self.buffer, head_only)) is None:
            data = self._more(until)
            if not data:
                return self._at_eof()
            self.buffer += data
        message, self.buffer = self.buffer[:end], self.buffer[end:]
        return parse_response(message)

    def receive_to_eof(self, *, deadline: float | None = None) -> bytes:
        """Everything until the server closes; ConnectionResetError when it resets."""
        until = monotonic() + (self.deadline if deadline is None else deadline)
        while data := self._more(until):
            self.buffer += data
        data, self.buffer = self.buffer, b""
        return data

    def closed_by_server(self, *, deadline: float | None = None) -> bool:
        """True at FIN or RST without another byte, False when bytes come; else TimeoutError."""
        with contextlib.suppress(ConnectionResetError):
            return self.receive(1, deadline=deadline) == b""
        return True

    def is_open(self) -> bool:
        """Whether neither data nor an end waits to be read: an idle connection looks so."""
        with contextlib.suppress(BlockingIOError):
            self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            return False
        return True

    def get(
        self, path: str = "/", *, close: bool = False, deadline: float | None = None
    ) -> Response:
        """Send a GET and read its response."""
        self.send(request(path, close=close))
        return self.receive_response(deadline=deadline)

    def _more(self, until: float) -> bytes:
        left = until - monotonic()
        if left <= 0:
            raise TimeoutError(f"deadline passed; so far came {self.buffer!r}")
        self.sock.settimeout(left)
        return self.sock.recv(65536)

    def _at_eof(self) -> Response:
        data, self.buffer = self.buffer, b""
        head = data.partition(b"\r\n\r\n")[0].lower()
        if b"\r\n\r\n" in data and b"\r\ncontent-length:" not in head and b"chunked" not in head:
            return parse_response(data)
        raise EOFError(f"connection ended after {data!r}")


def _single_bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def _end(data: bytes, head_only: bool) -> int | None:
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    bodiless = head_only or data[9:12] in {b"204", b"304"} or data[9:10] == b"1"
    return head + 4 if bodiless else response_end(data)


def parse_response(message: bytes) -> Response:
    """A complete response; a chunked body is joined."""
    head, separator, body = message.partition(b"\r\n\r\n")
    if re.search(rb"\r\ntransfer-encoding: *chunked", head, re.IGNORECASE):
        body = _join_chunks(body)
    return Response(int(head[9:12]), head + separator, body)


def _join_chunks(data: bytes) -> bytes:
    body = b""
    while data:
        line, _, rest = data.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        body, data = body + rest[:size], rest[size + 2 :]
    return body


def request(
    path: str = "/",
    *,
    method: str = "GET",
    close: bool = False,
    headers: str = "",
    body: bytes = b"",
) -> bytes:
    """A request; `headers` is raw text, each line ending with CRLF. Host is always there."""
    lines = f"{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}"
    if close:
        lines += "Connection: close\r\n"
    if body:
        lines += f"Content-Length: {len(body)}\r\n"
    return f"{lines}\r\n".encode("latin-1") + body


def get(port: int, path: str = "/", *, host: str = "127.0.0.1", deadline: float = 5.0) -> Response:
    """One GET on a connection of its own, closed afterwards (`Connection: close`)."""
    with RawConnection(port, host=host, deadline=deadline) as connection:
        return connection.get(path, close=True)


def exchange(port: int, data: bytes, *, slowly: bool = False, deadline: float = 5.0) -> bytes:
    """Send `data` (byte by byte with `slowly`) and read to EOF: for requests that must close.

    A server that answers and closes while the bytes still come may reset the connection; what had
    arrived by then is returned.
    """
    with RawConnection(port, deadline=deadline) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if slowly:
                connection.send_slowly(data)
            else:
                connection.send(data)
        try:
            return connection.receive_to_eof()
        except ConnectionResetError:
            return connection.buffer
