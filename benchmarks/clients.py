"""Clients that have asked once and stay: thousands of kept connections with nothing to do.

They come in batches, from several loopback addresses: one address has ports for 28,000
connections to one port, less those of earlier runs that are still in TIME_WAIT.
"""

from __future__ import annotations

import resource
import select
import socket
from typing import TYPE_CHECKING, Self, final

from benchmarks.loadgen import response_end
from benchmarks.loads import LoadError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_BATCH = 64
_PER_SOURCE = 4000
_SPARE = 100  # descriptors of the harness's own
_PATIENCE = 20.0  # seconds for one answer


def raise_fd_limit(wanted: int = 0) -> None:
    """Raise the soft limit to the hard one, and both to `wanted` descriptors if that is more.

    Servers that are started afterwards inherit it, as they do from a unit file. LoadError where
    it stays below `wanted`.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except (OSError, ValueError) as error:
        raise LoadError(
            f"{wanted} descriptors are needed, and the limit is {hard}: raise it (ulimit -n), or "
            "ask for fewer --connections"
        ) from error


@final
class IdleClients:
    """Kept connections to one port; leaving the context closes them, with RST.

    RST, because ten thousand ports in TIME_WAIT would be missed by whoever is measured next.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self._socks: list[socket.socket] = []
        self._opened = 0
        self.errors = 0
        """Connections that did not get their answer, or were ended while they were idle."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        for sock in self._socks:
            _reset(sock)

    def __len__(self) -> int:
        return len(self._socks)

    def open(self, count: int) -> None:
        """Open so many, each with one request and its answer; whoever fails is an error."""
        raise_fd_limit(len(self) + count + _SPARE)
        while count:
            batch = [self._connect() for _ in range(min(_BATCH, count))]
            count -= len(batch)
            self._socks += self._answered([sock for sock in batch if sock is not None])

    def ask(self, count: int) -> None:
        """Ask again on `count` of the connections, spread evenly over all of them."""
        chosen = self._socks[:: max(1, len(self) // max(1, count))][:count]
        for start in range(0, len(chosen), _BATCH):
            self._answered(chosen[start : start + _BATCH])
        self._forget_closed()

    def drop_ended(self) -> None:
        """Book those that the server has ended: an idle connection has nothing to read."""
        poll = select.poll()
        for sock in self._socks:
            poll.register(sock, select.POLLIN)
        ended = {fd for fd, _ in poll.poll(0)}
        for sock in [sock for sock in self._socks if sock.fileno() in ended]:
            self._fail(sock)
        self._forget_closed()

    def _forget_closed(self) -> None:
        self._socks = [sock for sock in self._socks if sock.fileno() >= 0]

    def _connect(self) -> socket.socket | None:
        self._opened += 1
        source = f"127.0.0.{1 + self._opened // _PER_SOURCE}"
        sock = socket.socket()
        sock.settimeout(_PATIENCE)
        try:
            sock.bind((source, 0))
            sock.connect(("127.0.0.1", self._port))
        except OSError:
            self._fail(sock)
            return None
        return sock

    def _answered(self, socks: Sequence[socket.socket]) -> list[socket.socket]:
        """Send to all, then read from all; those with a good answer."""
        asked = [sock for sock in socks if self._asks(sock)]
        return [sock for sock in asked if self._reads(sock)]

    def _asks(self, sock: socket.socket) -> bool:
        try:
            sock.sendall(self._request)
        except OSError:
            self._fail(sock)
            return False
        return True

    def _reads(self, sock: socket.socket) -> bool:
        data = bytearray()
        try:
            while response_end(data) is None:
                piece = sock.recv(65536)
                if not piece:
                    break
                data += piece
        except OSError:
            data.clear()
        if data.startswith(b"HTTP/1.1 200 ") and response_end(data) == len(data):
            return True
        self._fail(sock)
        return False

    def _fail(self, sock: socket.socket) -> None:
        self.errors += 1
        sock.close()


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
