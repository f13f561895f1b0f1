"""What both shells do with a connection before anybody serves it, apart from any event loop.

``Intake`` is the master's way, exactly once: it receives a connection, decides, and has answered
when it returns, so that the answer leaves before anybody touches the connection.  ``Listening`` is
the kernel's way (``--policy shared`` and ``reuseport``): a plain accept on an inherited listener.

Waiting until there is something to take is the shell's: of trio in ``receiver``, of asyncio in
``aio.receiver``.
"""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING, Generic, TypeVar, final

from balancer.core.books import Refusal
from balancer.net.handoff import AnswerKind
from balancer.net.listener import accept_batch, deafen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balancer.core.admission import Admission
    from balancer.net.handoff import HandoffReceiver
    from balancer.net.listener import Accepted
    from balancer.net.slots import SlotWriter

__all__ = ["Intake", "Listening", "RequestLimit"]

ANSWERS = {
    Refusal.FULL: AnswerKind.FULL,
    Refusal.NO_FDS: AnswerKind.NO_FDS,
    Refusal.DRAINING: AnswerKind.DRAINING,
    Refusal.SHUT: AnswerKind.SHUT,
}

_S = TypeVar("_S", bound=socket.SocketType)


@final
class Intake(Generic[_S]):
    """Takes connections from the master; owns the worker's end of the pair.

    ``kind`` is the type of the sockets that it makes: the plain one of the C module costs three
    Python calls less than ``socket.socket``.
    """

    def __init__(
        self,
        pair: HandoffReceiver,
        admission: Admission,
        slot: SlotWriter,
        families: tuple[int, ...],
        kind: Callable[[int, int, int, int], _S],
    ) -> None:
        self._pair = pair
        self._admission = admission
        self._slot = slot
        self._families = families
        self._kind = kind

    def fileno(self) -> int:
        """What to wait on for connections."""
        return self._pair.fileno()

    def room(self) -> None:
        """Tell the master that a worker it knows as full has room again."""
        self._pair.answer(AnswerKind.ROOM)

    def close_lane(self, lane: int) -> None:
        """Take nothing more from a lane; what is under way already goes back to the master."""
        self._admission.shut.add(lane)
        self._pair.answer(AnswerKind.CLOSED, lane)

    def open_lane(self, lane: int) -> None:
        """Take connections from a lane again."""
        self._admission.shut.discard(lane)
        self._pair.answer(AnswerKind.OPENED, lane)

    def take(self) -> tuple[_S, int] | None:
        """Receive one connection, and its lane, and answer for it; None if it was refused.

        Raises:
            BlockingIOError: there is none now.
            EOFError: there will be none any more.
        """
        handoff = self._pair.receive()
        if handoff is None:
            raise EOFError
        number, lane, fd = handoff
        refusal = self._admission.offered(received=fd is not None, lane=lane)
        if refusal is not None:
            if fd is not None:
                socket.close(fd)
            self._pair.answer(ANSWERS[refusal], number)
            return None
        assert fd is not None
        self._slot.opened()
        self._pair.answer(AnswerKind.ACK, number)
        # all three given, or the constructor asks the kernel for each of them
        return self._kind(self._families[lane], socket.SOCK_STREAM, 0, fd), lane


@final
class Listening(Generic[_S]):
    """Accepts from an inherited listener, which it owns, as many as there is room for."""

    def __init__(
        self,
        sock: socket.socket,
        admission: Admission,
        slot: SlotWriter,
        kind: Callable[[int, int, int, int], _S],
    ) -> None:
        self._sock = sock
        self._admission = admission
        self._slot = slot
        self._kind = kind

    def waiter(self) -> select.epoll:
        """What to wait on: several workers share a listener, and the kernel should wake one."""
        waiter = select.epoll()
        waiter.register(self._sock, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        return waiter

    @property
    def closed(self) -> bool:
        """Whether nothing is accepted any more."""
        return self._sock.fileno() < 0

    def take(self, most: int) -> tuple[list[_S], OSError | None]:
        """Accept up to so many; with them the error that says that descriptors have run out."""
        if self.closed:
            return [], None
        fds, exhausted = self._look(min(most, self._admission.room))
        return self._open(fds, self._sock.family), exhausted

    def take_last(self) -> list[_S]:
        """Accept who waits and close the listener: the server stops.

        The last process to close a listener cuts who waits on it, so nobody comes between the last
        look and the close.
        """
        if self.closed:
            return []
        deafen(self._sock)
        fds, _ = self._look(self._admission.limit)
        family = self._sock.family
        self._sock.close()
        return self._open(fds, family)

    def close(self) -> None:
        """Close it; idempotent."""
        self._sock.close()

    def _look(self, most: int) -> Accepted:
        return accept_batch(self._sock, min(most, self._admission.limit - self._admission.active))

    def _open(self, fds: list[int], family: int) -> list[_S]:
        for _ in fds:
            self._admission.active += 1
            self._slot.opened()
        return [self._kind(family, socket.SOCK_STREAM, 0, fd) for fd in fds]


@final
class RequestLimit:
    """Counts requests into the slot, and calls ``reached`` once when there have been enough."""

    patience = 1  # a worker that has had enough must not get many more

    def __init__(self, slot: SlotWriter, limit: int, reached: Callable[[], object]) -> None:
        self._slot = slot
        self._left = limit
        self._reached = reached

    def requests_done(self, done: Sequence[tuple[int, float, int, int]]) -> None:
        """As in ``Stats``."""
        self._slot.requests_done(done)
        before, self._left = self._left, self._left - len(done)
        if self._left <= 0 < before:
            self._reached()
