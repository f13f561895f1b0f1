"""Connections from the master to a worker by SCM_RIGHTS, and the worker's answers.

Each worker has one ``SOCK_SEQPACKET`` pair.  Down go hand-offs, one connection per packet, with its
number and lane; up come acks, refusals and the words that there is room again, or that the worker
takes nothing (again) from a lane.  Nothing else travels here: a large message in between would
delay an ack.

The master keeps three things: its end of the pair, its own copy of every connection until the ack,
and the worker's *receiving* end too.  A packet in that queue belongs to nobody until somebody
receives it, and the kernel gives it to exactly one of the two: that is the *recall*.  It is a plain
``recv``: the kernel drops the descriptors of a packet whose reader asks for none, so a recall makes
no fd and works at EMFILE, and the number finds the master's copy.

What the kernel does (Linux; unix(7), recvmsg(2)):

* ``O_NONBLOCK`` belongs to the open file description, which master and worker share on that end:
  both must expect EAGAIN, and do.
* A pair holds about 278 small packets, then EAGAIN; descriptors in flight count per user against
  RLIMIT_NOFILE (not for root), then ETOOMANYREFS.  Both mean: this worker's window is full.
* A receiver without room for a descriptor gets the packet with MSG_CTRUNC and no descriptor.
* Received descriptors are inheritable unless MSG_CMSG_CLOEXEC is given.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["AnswerKind", "Handoff", "HandoffReceiver", "HandoffSender", "WindowFullError"]

_DOWN = struct.Struct("=QH")  # number, lane
_UP = struct.Struct("=BQ")  # kind, number
_FD = struct.Struct("=i")
# plain ints: an enum member is looked up and converted at every use
_SOCKET = int(socket.SOL_SOCKET)
_RIGHTS = int(socket.SCM_RIGHTS)
_FD_SPACE = socket.CMSG_SPACE(_FD.size)

_NO_ROOM = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})


class AnswerKind(IntEnum):
    """What a worker says of a connection."""

    ACK = 1
    FULL = 2
    NO_FDS = 3
    DRAINING = 4
    ROOM = 5  # of no connection: there is room again after FULL
    SHUT = 6  # the worker takes nothing from the connection's lane
    CLOSED = 7  # of no connection: from now on the worker takes nothing from a lane, the number
    OPENED = 8  # of no connection: now it does again


_KINDS = frozenset(map(int, AnswerKind))


class Handoff(NamedTuple):
    """A connection as the worker receives it; ``fd`` is None when there was no room for it."""

    number: int
    lane: int
    fd: int | None


class WindowFullError(Exception):
    """The pair, or the user's allowance of descriptors in flight, takes no more for now."""


@final
class HandoffSender:
    """The master's side: owns both of its copies of the pair's ends."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._near = near
        self._far = far
        # bound once: these three run for every connection
        self._sendmsg = near.sendmsg
        self._recv = near.recv

    @classmethod
    def pair(cls) -> HandoffSender:
        """A new pair; the worker gets a copy of ``receiving_end``."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near.setblocking(False)
        far.setblocking(False)
        return cls(near, far)

    @property
    def receiving_end(self) -> int:
        """The fd that the worker needs a copy of."""
        return self._far.fileno()

    def fileno(self) -> int:
        """What to wait on for answers."""
        return self._near.fileno()

    def send(self, number: int, lane: int, fd: int) -> None:
        """Hand over a copy of a connection; WindowFullError when nothing more fits.

        A worker that is gone is not seen here, because the receiving end is still open: ours.
        """
        try:
            self._sendmsg((_DOWN.pack(number, lane),), ((_SOCKET, _RIGHTS, _FD.pack(fd)),))
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise WindowFullError from error
            raise

    def answer(self) -> tuple[int, int] | None:
        """The worker's next answer, an ``AnswerKind`` and the number of the connection.

        None when there is none now, or never will be.  The number of ROOM means nothing, that of
        CLOSED and OPENED is the lane.
        What is no answer comes of an app that wrote to a descriptor that isn't its own: skipped.
        """
        while True:
            try:
                packet = self._recv(_UP.size + 1)  # one more, to see that it is too long
            except BlockingIOError:
                return None
            except ConnectionResetError:
                # The worker left packets unread.  On SEQPACKET the error comes *before* its last
                # words, which are still there to read.
                continue
            if not packet:
                return None
            if len(packet) == _UP.size and packet[0] in _KINDS:
                return _UP.unpack(packet)

    def recall(self) -> int | None:
        """Take back the oldest connection that the worker hasn't received: its number."""
        try:
            packet = self._far.recv(_DOWN.size)
        except BlockingIOError:
            return None
        number: int = _DOWN.unpack(packet)[0]
        return number

    def recall_all(self) -> Iterator[int]:
        """Take back everything that the worker hasn't received, oldest first."""
        while (number := self.recall()) is not None:
            yield number

    def close(self) -> None:
        """Close both; idempotent."""
        self._near.close()
        self._far.close()


@final
class HandoffReceiver:
    """The worker's side: owns its end of the pair."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._recvmsg = sock.recvmsg
        self._send = sock.send

    def fileno(self) -> int:
        """What to wait on for hand-offs."""
        return self._sock.fileno()

    def receive(self) -> Handoff | None:
        """The next connection; the caller owns its fd.  BlockingIOError: none now; None: never."""
        try:
            packet, ancillary, _flags, _address = self._recvmsg(
                _DOWN.size, _FD_SPACE, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            # The master died and left answers unread: as in HandoffSender.answer, read on.
            return self.receive()
        if not packet:
            return None
        number, lane = _DOWN.unpack(packet)
        fd = _FD.unpack(ancillary[0][2])[0] if ancillary else None
        return Handoff(number, lane, fd)

    def answer(self, kind: AnswerKind, number: int = 0) -> None:
        """Say what becomes of a connection; when this returns, the master can read it.

        Never buffered: an ack must have left before the first byte is read from the connection.
        A master that doesn't read (stopped by a signal) is waited for.  A master that is gone is
        ignored: then nobody else can have the connection.
        """
        packet = _UP.pack(kind, number)
        while True:
            try:
                self._send(packet, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                waiter = select.poll()
                waiter.register(self._sock, select.POLLOUT)
                waiter.poll()
            except (BrokenPipeError, ConnectionResetError):
                return
            else:
                return

    def close(self) -> None:
        """Close it; idempotent."""
        self._sock.close()
