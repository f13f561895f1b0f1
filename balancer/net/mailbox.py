"""Messages of the user's between the master and a worker, with sockets, over an AF_UNIX stream.

A socket pair of its own beside the control channel: whoever doesn't read his messages must not keep
the master from saying ``Drain``, and 1 MB of them must not delay it.

What the kernel does with SCM_RIGHTS on a stream (unix(7); Linux, ``unix_stream_read_generic``):

* The descriptors come with the first byte of the ``sendmsg`` that sent them, and one ``recvmsg``
  never runs past the end of a piece that has some.  So each ``recvmsg`` brings at most one batch.
* A receiver without room gets the bytes with MSG_CTRUNC, and as many descriptors as fitted.
* Received descriptors are inheritable unless MSG_CMSG_CLOEXEC is given.
* Descriptors in flight count per user against RLIMIT_NOFILE (not for root), then ETOOMANYREFS,
  which nothing can wait for: it is tried again.

A message is never cut by a deadline or a cancellation: what is left of one that was begun goes out
before the next.
"""

from __future__ import annotations

import array
import errno
import socket
from collections import deque
from typing import TYPE_CHECKING, final

import trio

from balancer.core.parcels import MAX_FDS, Batch, ParcelDecoder, encode_parcel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from balancer.core.parcels import Parcel

    Sendable = socket.socket | trio.socket.SocketType | trio.SocketStream | trio.SocketListener
    """What can be sent beside a message."""

__all__ = ["Mailbox", "Sendable", "descriptor", "open_sockets"]

READ_SIZE = 65536
RETRY = 0.02
"""Seconds between two tries when too many descriptors are in flight."""
_ITEM = array.array("i").itemsize
_FD_SPACE = socket.CMSG_SPACE(MAX_FDS * _ITEM)
_IN_FLIGHT = frozenset({errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM})


def descriptor(sock: Sendable) -> int:
    """The descriptor of what is to be sent; ValueError when that isn't an open socket."""
    inner = sock.socket if isinstance(sock, trio.SocketStream | trio.SocketListener) else sock
    fd = inner.fileno()
    if fd < 0:
        raise ValueError("a socket that is closed can't be sent")
    return fd


def open_sockets(fds: Iterable[int]) -> tuple[socket.socket, ...]:
    """Socket objects that own these descriptors."""
    return tuple(socket.socket(fileno=fd) for fd in fds)


@final
class Mailbox:
    """One end, which it owns, and the descriptors that have come and were not fetched yet."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._decoder = ParcelDecoder()
        self._arrived: deque[Parcel] = deque()
        self._rest = memoryview(b"")  # of a message that was begun
        self._sending = trio.Lock()
        self._receiving = trio.Lock()

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        """Two ends."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)

    async def send(self, data: object, fds: Sequence[int] = (), *, seconds: float) -> bool:
        """Send a message; False when the other end is gone or makes no room for so long.

        The descriptors stay the caller's, and must stay open until this returns.  One that is
        cancelled, or out of time, after it was begun still arrives, if anything does.

        Raises:
            TypeError, ValueError: this can't be sent.
            OSError: a descriptor is not open.
        """
        frame = encode_parcel(data, len(fds))
        with trio.move_on_after(seconds):
            async with self._sending:
                try:
                    await self._flush()
                    await self._begin(frame, fds)
                    await self._flush()
                except (BrokenPipeError, ConnectionResetError, trio.ClosedResourceError):
                    return False
                return True
        return False

    async def _begin(self, frame: bytes, fds: Sequence[int]) -> None:
        """Send as much as fits, with the descriptors; the rest is left to ``_flush``."""
        beside = []
        if fds:
            beside.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes()))
        while True:
            self._check_open()
            try:
                sent = self._sock.sendmsg([frame], beside, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)
            except OSError as error:
                if error.errno not in _IN_FLIGHT:
                    raise
                await trio.sleep(RETRY)
            else:
                self._rest = memoryview(frame)[sent:]
                return

    async def _flush(self) -> None:
        while self._rest:
            self._check_open()
            try:
                sent = self._sock.send(self._rest, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)
            else:
                self._rest = self._rest[sent:]

    def _check_open(self) -> None:
        if self._sock.fileno() < 0:
            raise trio.ClosedResourceError

    def receive_nowait(self) -> Parcel:
        """The next message; the caller owns its descriptors.

        Raises:
            trio.WouldBlock: there is none now.
            trio.EndOfChannel: there will be none any more.
            ProtocolError: the other end sent what is no message.
        """
        while not self._arrived:
            if self._sock.fileno() < 0:
                raise trio.EndOfChannel
            self._read()
        return self._arrived.popleft()

    async def receive(self) -> Parcel:
        """The next message, as ``receive_nowait``; waits for it."""
        await trio.lowlevel.checkpoint()
        async with self._receiving:  # only one task may wait for a socket
            while True:
                try:
                    return self.receive_nowait()
                except trio.WouldBlock:
                    pass
                try:
                    await trio.lowlevel.wait_readable(self._sock)
                except trio.ClosedResourceError:
                    raise trio.EndOfChannel from None

    def _read(self) -> None:
        try:
            data, ancillary, flags, _address = self._sock.recvmsg(
                READ_SIZE, _FD_SPACE, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            raise trio.WouldBlock from None
        except ConnectionResetError:  # it died with messages unread; its last words come first
            raise trio.EndOfChannel from None
        if not data:
            raise trio.EndOfChannel
        self._arrived.extend(self._decoder.feed(data, _batch(ancillary, flags)))

    def close(self) -> None:
        """Close it, and what has come unread; idempotent.  Who waits on it is told."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
        unread = [fd for parcel in self._arrived for fd in parcel.batch.fds]
        self._arrived.clear()
        for fd in [*unread, *self._decoder.leftovers()]:
            socket.close(fd)


def _batch(ancillary: list[tuple[int, int, bytes]], flags: int) -> Batch | None:
    """What came beside some bytes: all of it or, where some had no room, nothing of it."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % _ITEM])
    if flags & socket.MSG_CTRUNC:
        for fd in fds:
            socket.close(fd)
        return Batch((), lost=True)
    return Batch(tuple(fds)) if fds else None
