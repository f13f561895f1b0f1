"""Where connections come in: from the master's socket pair, or from the kernel.

The master's way is exactly once: the answer leaves before anybody touches the connection, and there
is no await between receiving and answering, so nothing can come in between.  The kernel's way
(``--policy shared`` and ``reuseport``) is a plain accept on an inherited listener.
"""

from __future__ import annotations

import contextvars
import logging
import math
import select
import socket
from typing import TYPE_CHECKING, final

import trio

from balancer.core.books import Refusal
from balancer.http1.inline import begin, carry_on
from balancer.net.handoff import AnswerKind
from balancer.net.listener import accept_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from balancer.core.admission import Admission
    from balancer.net.handoff import HandoffReceiver
    from balancer.net.listener import Accepted
    from balancer.net.slots import SlotWriter

    Serve = Callable[[socket.SocketType], Coroutine[Any, Any, None]]

__all__ = ["KernelAcceptor", "Receiver"]

logger = logging.getLogger("balancer")

BATCH = 16
"""Connections taken in one go, before the other tasks get their turn."""

ANSWERS = {
    Refusal.FULL: AnswerKind.FULL,
    Refusal.NO_FDS: AnswerKind.NO_FDS,
    Refusal.DRAINING: AnswerKind.DRAINING,
}


@final
class Receiver:
    """Takes connections from the master; owns the worker's end of the pair.

    One task at a time leads: it receives a connection and serves it in place.  When that has to
    wait, the next leader starts, and this task is the connection's until its end.
    """

    def __init__(
        self,
        pair: HandoffReceiver,
        admission: Admission,
        slot: SlotWriter,
        families: tuple[int, ...],
        serve: Serve,
    ) -> None:
        self._pair = pair
        self._admission = admission
        self._slot = slot
        self._families = families
        self._serve = serve
        self._nursery: trio.Nursery
        self._clean: contextvars.Context

    def start(self, nursery: trio.Nursery) -> None:
        """Receive, and serve in tasks of this nursery, until it is cancelled."""
        self._nursery = nursery
        self._clean = contextvars.copy_context()
        self._promote()

    def room(self) -> None:
        """Tell the master that a worker it knows as full has room again."""
        self._pair.answer(AnswerKind.ROOM)

    def _promote(self) -> None:
        # A task begins with a copy of the context that starts it, and this may be a connection's:
        # what the app has set there (a user, say) is no business of the next one's.
        self._clean.run(self._nursery.start_soon, self._lead)

    async def _lead(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._pair.fileno())
            for _ in range(BATCH):
                try:
                    sock = self._take()
                except BlockingIOError:
                    break
                except EOFError:
                    return
                if sock is None:
                    continue
                connection = self._serve(sock)
                trap = begin(connection)
                if trap is not None:
                    self._promote()
                    await carry_on(connection, trap)
                    return
                if contextvars.copy_context() != self._clean:
                    # The app has left something in this task's context without ever waiting.
                    self._promote()
                    return

    def _take(self) -> socket.SocketType | None:
        """Receive one connection and answer for it; None if it was refused.

        Raises:
            BlockingIOError: there is none now.
            EOFError: there will be none any more.
        """
        handoff = self._pair.receive()
        if handoff is None:
            raise EOFError
        number, lane, fd = handoff
        refusal = self._admission.offered(received=fd is not None)
        if refusal is not None:
            if fd is not None:
                socket.close(fd)
            self._pair.answer(ANSWERS[refusal], number)
            return None
        assert fd is not None
        self._slot.opened()
        self._pair.answer(AnswerKind.ACK, number)
        # The plain type of the C module: socket.socket() costs three Python calls more.  And all
        # three given, or the constructor asks the kernel for each of them.
        return socket.SocketType(self._families[lane], socket.SOCK_STREAM, 0, fd)


@final
class KernelAcceptor:
    """Accepts from an inherited listener, which it owns, while there is room."""

    def __init__(
        self,
        sock: socket.socket,
        admission: Admission,
        slot: SlotWriter,
        start: Callable[[socket.SocketType], None],
        *,
        batch: int,
    ) -> None:
        self._sock = sock
        self._admission = admission
        self._slot = slot
        self._start = start
        self._batch = batch
        self._complained = False
        self._room = trio.Event()

    async def run(self) -> None:
        """Accept until the doors are closed (cancel it then: it may be waiting)."""
        with self._sock, select.epoll() as waiter:
            # Several workers wait on one listener: the kernel should wake one, not all.
            waiter.register(self._sock, select.EPOLLIN | select.EPOLLEXCLUSIVE)
            while self._sock.fileno() >= 0:
                if not self._admission.open:
                    self._room = trio.Event()
                    await self._room.wait()
                await trio.lowlevel.wait_readable(waiter.fileno())
                if waiter.poll(0) and self._admission.open:
                    await self._accept()
                    if self._admission.seats < math.inf:
                        # What was accepted takes its seat in a task that runs in the next round,
                        # in any order with this one; from here it is in the round after that.
                        await trio.lowlevel.checkpoint()

    def room(self) -> None:
        """A connection has ended."""
        self._room.set()

    async def _accept(self) -> None:
        exhausted = self._take(self._batch)
        if exhausted is not None:
            if not self._complained:
                logger.warning("can't accept: %s; waiting for descriptors", exhausted.strerror)
            await trio.sleep(0.1)
        self._complained = exhausted is not None

    def take_last(self) -> None:
        """Accept who waits and close the listener: the server stops.

        The last process to close a listener cuts who waits on it, so nothing comes between the last
        look and the close.
        """
        if self._sock.fileno() >= 0:
            fds, _ = self._look(self._admission.limit)
            family = self._sock.family
            self._sock.close()
            self._begin(fds, family)

    def _take(self, most: int) -> OSError | None:
        if self._sock.fileno() < 0:
            return None
        fds, exhausted = self._look(min(most, self._admission.room))
        self._begin(fds, self._sock.family)
        return exhausted

    def _look(self, most: int) -> Accepted:
        return accept_batch(self._sock, min(most, self._admission.limit - self._admission.active))

    def _begin(self, fds: list[int], family: int) -> None:
        for fd in fds:
            self._admission.active += 1
            self._slot.opened()
            self._start(socket.SocketType(family, socket.SOCK_STREAM, 0, fd))
