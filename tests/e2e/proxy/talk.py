"""The two ends of a proxied conversation, as raw sockets, in one thread.

Nothing here waits for time: one end says something, then the other is read until it has what it
waits for.  What a proxy has sent over loopback is in the receiver's queue when ``send`` returns, so
"the upstream saw nothing" needs no patience either: the client has its answer, then one look.

The proxy may keep connections to the upstream.  Each row begins with none (``Upstream.settle``):
the ends are closed, and a request goes through, behind which the proxy has heard of that.
"""

from __future__ import annotations

import select
import socket
from contextlib import closing, suppress
from time import monotonic
from typing import TYPE_CHECKING, Self, final

from tests.e2e.proxy.message import Message, Mismatch, read_message

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["DEADLINE", "End", "Talk", "Upstream", "connect"]

DEADLINE = 5.0
PIECE = 65536
CRLF = b"\r\n"
LINGER = b"\1\0\0\0\0\0\0\0"  # struct linger {1, 0}: close with a reset
SETTLE = b"GET /settle HTTP/1.1\r\nHost: settle\r\nConnection: close\r\n\r\n"
SETTLED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class End:
    """One end of one connection; owns its socket."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self.sock = sock
        self.name = name
        self.seen = b""
        """What came and wasn't taken yet."""
        self.log = b""
        """All that came."""
        self.ended = False
        self.reset = False
        sock.setblocking(False)

    def say(self, data: bytes) -> None:
        """Send all of it; a connection that is gone takes it and forgets it."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self.sock.send(rest) :]
            except BlockingIOError:
                if not select.select([], [self.sock], [], DEADLINE)[1]:
                    raise Mismatch(f"nobody takes what {self.name} sends") from None
            except ConnectionError:
                return

    def finish(self) -> None:
        """Half-close."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()
        self.ended = True

    def cut(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        self.close()

    def pull(self) -> bool:
        """Take what is there; False: nothing is."""
        if self.ended:
            return False
        try:
            data = self.sock.recv(PIECE)
        except BlockingIOError:
            return False
        except ConnectionError:
            self.ended = self.reset = True
            return True
        self.ended = not data
        self.seen += data
        self.log += data
        return True

    def take(self, *, method: bytes | None) -> Message | None:
        """The next message; None: it isn't complete.  ``method``: as in ``read_message``."""
        try:
            found = read_message(self.seen, method=method, ended=self.ended and not self.reset)
        except ValueError:
            raise Mismatch(f"{self.name} got no message: {self.seen[:200]!r}") from None
        if found is not None:
            self.seen = self.seen[len(found.raw) :]
        return found


@final
class Upstream:
    """A scripted server: what it got, byte by byte, and what the test makes it say.

    Two sockets have the port: one keeps it, the other listens, so that ``deafen`` makes a refused
    connection of the next, and nobody else can have the port meanwhile.
    """

    def __init__(self) -> None:
        self._keeper = _bound(0)
        self.port: int = self._keeper.getsockname()[1]
        self.ends: list[End] = []
        self._listener: socket.socket | None = None
        self.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.deafen()
        self._keeper.close()
        for end in self.ends:
            end.close()

    def listen(self) -> None:
        """Accept connections, which it does from the beginning."""
        if self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen(128)
            self._listener.setblocking(False)

    def deafen(self) -> None:
        """Refuse connections."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def look(self) -> bool:
        """Take what is there, on all connections, without waiting; whether there was something."""
        moved = self._accept()
        for end in self.ends:
            while end.pull():
                moved = True
        return moved

    def _accept(self) -> bool:
        if self._listener is None:
            return False
        moved = False
        with suppress(BlockingIOError):
            while True:
                sock = self._listener.accept()[0]
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.ends.append(End(sock, "the upstream"))
                moved = True
        return moved

    @property
    def sockets(self) -> list[socket.socket]:
        """What may have news."""
        listeners = [self._listener] if self._listener is not None else []
        return listeners + [end.sock for end in self.ends if not end.ended]

    def forget(self) -> None:
        """Close all connections."""
        for end in self.ends:
            end.close()
        self.ends.clear()

    def renew(self, port: int) -> None:
        """Begin anew, but keep connections on which nothing is open: the proxy may use them."""
        self.listen()
        self.look()
        if any(end.seen for end in self.ends):
            self.settle(port)
        for end in [end for end in self.ends if end.ended]:
            end.close()
            self.ends.remove(end)
        for end in self.ends:
            end.log = b""

    def settle(self, port: int) -> None:
        """Begin anew: the proxy behind this port has no connection to us any more, and knows it."""
        self.listen()
        self.forget()
        with closing(Talk(connect(port), self)) as talk:

            def answered() -> bool:
                for end in self.ends:
                    if not end.ended and end.take(method=None):
                        end.say(SETTLED)
                        end.close()
                return talk.client.seen.endswith(b"\r\n\r\n")

            talk.client.say(SETTLE)
            talk.wait(answered, "the request between two rows")
        self.forget()


@final
class Talk:
    """A client on one side of a proxy and the upstream on the other; owns the client.

    Attributes:
        client: The client's end.
        upstream: The other side.
        end: The upstream's end that has got the last request.
        method: Of the last request of the client.
        patience: Seconds; fewer where we know that nothing comes.
    """

    def __init__(self, client: End, upstream: Upstream, patience: float = DEADLINE) -> None:
        self.client = client
        self.upstream = upstream
        self.patience = patience
        self.method = b"GET"
        self._end: End | None = None

    @property
    def end(self) -> End:
        assert self._end is not None, "the upstream has got nothing yet"
        return self._end

    def close(self) -> None:
        self.client.close()

    def look(self) -> None:
        """Take what is there, without waiting.

        The upstream's first: what the proxy sent to the client before that, is there as well then.
        """
        self.upstream.look()
        while self.client.pull():
            pass

    def wait(
        self,
        met: Callable[[], object],
        what: str,
        hindered: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Read on both sides until it is so.

        Raises:
            Mismatch: it isn't, within ``patience``; or something else has come instead, which
                ``hindered`` names.
        """
        until = monotonic() + self.patience
        while not met():
            if why := hindered():
                raise Mismatch(f"{why} instead of {what}")
            alive = self.upstream.sockets + ([] if self.client.ended else [self.client.sock])
            if not select.select(alive, [], [], max(0.0, until - monotonic()))[0]:
                raise Mismatch(f"nothing instead of {what}")
            self.look()

    # what comes

    def request(self) -> Message:
        """The next whole request that the upstream gets."""
        found: list[Message] = []

        def met() -> bool:
            for end in self.upstream.ends:
                if end.seen and (request := end.take(method=None)) is not None:
                    self._end = end
                    found.append(request)
                    return True
            return False

        self.wait(
            met, "a request at the upstream", lambda: self._answered() or self._client_ended()
        )
        return found[0]

    def hear(self, *parts: bytes) -> None:
        """What the upstream gets next, perhaps not a whole request; taken up to the last part."""

        def met() -> bool:
            for end in self.upstream.ends:
                at = 0
                for part in parts:
                    at = end.seen.find(part, at) + len(part)
                    if at < len(part):
                        break
                else:
                    self._end, end.seen = end, end.seen[at:]
                    return True
            return False

        self.wait(met, f"{parts[-1][:40]!r} at the upstream", self._answered)

    def response(self) -> Message:
        """The next response that the client gets, interim ones too."""
        found: list[Message] = []

        def met() -> bool:
            response = self.client.take(method=self.method)
            found.extend([response] if response is not None else [])
            return bool(found)

        self.wait(met, "a response at the client", self._nothing_comes)
        return found[0]

    def bytes(self, size: int) -> bytes:
        """So many bytes that the client gets."""
        client = self.client
        self.wait(
            lambda: len(client.seen) >= size, f"{size} bytes at the client", self._nothing_comes
        )
        taken, client.seen = client.seen[:size], client.seen[size:]
        return taken

    def client_end(self) -> None:
        """The end of the client's connection."""
        self.wait(lambda: self.client.ended, "the end at the client", self._request_came)

    def _answered(self) -> str | None:
        client = self.client
        first, line, _ = client.seen.partition(b"\r\n")
        if line and first[9:10] != b"1":
            return f"the client got {first!r}"
        return None

    def _client_ended(self) -> str | None:
        if not self.client.ended:
            return None
        what = "a reset" if self.client.reset else "the end"
        behind = f" behind {self.client.seen[:50]!r}" if self.client.seen else ""
        return f"the client got {what}{behind}"

    def _request_came(self) -> str | None:
        for end in self.upstream.ends:
            if b"\r\n\r\n" in end.seen and b" HTTP/1." in end.seen:
                return f"the upstream got {end.seen.partition(CRLF)[0]!r}"
        return None

    def _nothing_comes(self) -> str | None:
        return self._request_came() or self._client_ended()


def connect(port: int) -> End:
    """A client's end of a new connection to a front door; the caller owns it."""
    end = End(socket.create_connection(("127.0.0.1", port)), "the client")
    end.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock
