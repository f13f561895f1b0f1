"""What carries the bytes of one connection, and owns its socket.

A transport has two ``_nowait`` methods that never block and two waits.  Waiting costs about eight
microseconds and a read that says EAGAIN one, so the caller chooses the order: wait first where
data is never there yet (after a response), try first where it usually is (a fresh connection).

No wait has a cancel scope: one scope per connection would cost more than the request.  Instead the
reaper calls ``interrupt``, which makes the waits raise ``trio.ClosedResourceError``; whoever waits
then asks the clock whether it is his deadline that passed.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio

from balancer.http1.errors import ClientGone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Address", "SocketTransport", "Transport", "receive", "send_all"]

Address = tuple[str, int] | str | None
"""Host and port; the path of a Unix socket; None when the peer has none or is gone."""

UNASKED: Address = "(not asked yet)"
GONE: Address = ("", 0)
"""Of a TCP client that has reset the connection: not None, which is a client on a UNIX socket, and
trusted where those are."""

RECV_FLAGS = socket.MSG_DONTWAIT
SEND_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
# MSG_MORE (send(2)) holds the segment back for what follows at once: the FIN of send_eof
LAST_FLAGS = SEND_FLAGS | getattr(socket, "MSG_MORE", 0)
# l_onoff, l_linger: close at once, and with a reset, so that a cut response can't look complete
RESET = struct.pack("ii", 1, 0)


class Transport(Protocol):
    """A stream of bytes both ways, for one task that reads and one that writes."""

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""

    @property
    def peer(self) -> Address:
        """The client's address, asked from the kernel only when somebody wants it."""

    @property
    def local(self) -> Address:
        """The address the client connected to."""

    def recv_nowait(self, limit: int) -> bytes | None:
        """What has come, at most ``limit`` bytes; b"" at the end; None: nothing yet.

        Raises:
            ClientGone: the connection broke.
        """

    def send_nowait(self, data: bytes | memoryview) -> int:
        """How many bytes were taken; 0: none at the moment.

        Raises:
            ClientGone: the connection broke.
        """

    def post_nowait(self, data: bytes) -> int:
        """As ``send_nowait``, for a response behind which the connection is idle.

        It may leave a moment later, together with those of other connections.
        """

    def send_last_nowait(self, data: bytes) -> int:
        """As ``send_nowait``, and if everything was taken, as ``send_eof`` after it."""

    def wait_readable(self) -> Awaitable[None]:
        """Wait until ``recv_nowait`` may have something; trio.ClosedResourceError: interrupted."""

    def wait_request(self) -> Awaitable[None]:
        """As ``wait_readable``, between two requests: the caller's task may be another one then."""

    def wait_writable(self) -> Awaitable[None]:
        """Wait until ``send_nowait`` may take something; trio.ClosedResourceError: interrupted."""

    async def wait_posted(self) -> None:
        """Return when nothing that was posted waits to be taken, or when nobody will take it."""

    def interrupt(self) -> None:
        """Wake whoever waits, with trio.ClosedResourceError; the transport remains usable."""

    def watch(self, watcher: Callable[[], None] | None) -> None:
        """Call somebody when something comes and nobody waits for it; None: nobody any more.

        A transport that can't tell may ignore it.
        """

    @property
    def stirred(self) -> bool:
        """Bytes or the end have come since the last read, or may have; as far as is known."""

    @property
    def ended(self) -> bool:
        """Nothing comes any more but what has come already; as far as is known."""

    def has_bytes(self) -> bool:
        """Whether bytes can be read now; they stay where they are."""

    def send_eof(self) -> None:
        """Half-close: we send nothing more.  Needed before ``close``, see there."""

    def close(self) -> None:
        """Give the socket back; idempotent.

        Without ``send_eof`` the peer need not see an end: the master may still hold a copy.
        """

    def abort(self) -> None:
        """Close with a reset: nobody may take what was sent for complete."""


async def receive(transport: Transport, limit: int) -> bytes:
    """Wait for bytes and return them; b"" at the end.  For tunnels, which have no reaper."""
    while (data := transport.recv_nowait(limit)) is None:
        await transport.wait_readable()
    return data


async def send_all(transport: Transport, data: bytes) -> None:
    """Send everything.  For tunnels, which have no reaper."""
    while data:
        sent = transport.send_nowait(data)
        if sent < len(data):
            await transport.wait_writable()
        data = data[sent:]


class SocketTransport:
    """A stream socket with trio's waits.

    O_NONBLOCK is never touched: it belongs to every copy of the socket.
    """

    __slots__ = ("_ended", "_ended_ours", "_fd", "_local", "_peer", "_ready", "_sock")

    scheme = "http"

    def __init__(self, sock: socket.SocketType) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._ended_ours = False
        self._peer: Address = UNASKED
        self._local: Address = UNASKED
        self._ended = False
        """The kernel has said that the stream is over."""
        self._ready = False
        """There may be more to read, and no news from the kernel will say so: only a read that
        finds nothing, or less than it asked for, says that there isn't."""

    @property
    def peer(self) -> Address:
        if self._peer is UNASKED:
            self._peer = _address(self._sock.getpeername)
            if self._peer is None and self._sock.family != socket.AF_UNIX:
                self._peer = GONE
        return self._peer

    @property
    def local(self) -> Address:
        if self._local is UNASKED:
            self._local = _address(self._sock.getsockname)
        return self._local

    def recv_nowait(self, limit: int) -> bytes | None:
        try:
            data = self._sock.recv(limit, RECV_FLAGS)
        except BlockingIOError:
            self._ready = self._ended
            return None
        except OSError as error:  # ECONNRESET, ETIMEDOUT, EHOSTUNREACH …: gone in any case
            raise ClientGone(str(error)) from error
        self._ready = self._ended or len(data) == limit
        return data

    def send_nowait(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data, SEND_FLAGS)
        except BlockingIOError:
            return 0
        except OSError as error:  # EPIPE, ECONNRESET …
            raise ClientGone(str(error)) from error

    def post_nowait(self, data: bytes) -> int:
        return self.send_nowait(data)

    def send_last_nowait(self, data: bytes) -> int:
        """The response and its end leave in one segment, which wakes the client once."""
        try:
            sent = self._sock.send(data, LAST_FLAGS)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ClientGone(str(error)) from error
        if sent == len(data):
            self.send_eof()
        return sent

    def wait_readable(self) -> Awaitable[None]:
        return trio.lowlevel.wait_readable(self._fd)  # noqa: ASYNC105 - a frame less

    def wait_request(self) -> Awaitable[None]:
        return self.wait_readable()

    def wait_writable(self) -> Awaitable[None]:
        return trio.lowlevel.wait_writable(self._fd)  # noqa: ASYNC105 - a frame less

    async def wait_posted(self) -> None:
        """Nothing ever waits here."""

    def watch(self, watcher: Callable[[], None] | None) -> None:
        """Nobody tells us."""

    @property
    def stirred(self) -> bool:
        return self._ready

    @property
    def ended(self) -> bool:
        return self._ended

    def has_bytes(self) -> bool:
        try:
            return bool(self._sock.recv(1, RECV_FLAGS | socket.MSG_PEEK))
        except OSError:  # nothing yet, or gone
            return False

    def interrupt(self) -> None:
        trio.lowlevel.notify_closing(self._fd)

    def send_eof(self) -> None:
        if not self._ended_ours:
            self._ended_ours = True
            with suppress(OSError):  # ENOTCONN: the peer was faster
                self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if self._fd >= 0:
            self._fd = -1
            self._sock.close()

    def abort(self) -> None:
        if self._fd < 0:
            return
        trio.lowlevel.notify_closing(self._fd)  # a handler's other task may wait
        with suppress(OSError):  # EINVAL on a socket that was reset already
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.close()


def _address(ask: object) -> Address:
    assert callable(ask)
    try:
        found = ask()
    except OSError:  # ENOTCONN: reset already
        return None
    if isinstance(found, tuple):
        return (found[0], found[1])
    return str(found) if found else None
