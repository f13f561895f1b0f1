"""Where connections come in: from the master's socket pair, or from the kernel.

What is taken, and what is answered, is ``intake``'s; this is how trio waits for it and serves it.
"""

from __future__ import annotations

import contextvars
import logging
import math
import socket
from typing import TYPE_CHECKING, final

import trio

from balancer.http1.inline import begin, carry_on
from balancer.worker.intake import Intake, Listening

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from balancer.core.admission import Admission
    from balancer.net.handoff import HandoffReceiver
    from balancer.net.slots import SlotWriter

    Serve = Callable[[socket.SocketType, int], Coroutine[Any, Any, None]]
    """Serves a connection that came by a lane."""

__all__ = ["KernelAcceptor", "Receiver"]

logger = logging.getLogger("balancer")

BATCH = 16
"""Connections taken in one go, before the other tasks get their turn."""


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
        self._intake = Intake(pair, admission, slot, families, socket.SocketType)
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
        self._intake.room()

    def close_lane(self, lane: int) -> None:
        """Take nothing more from a lane; what is under way already goes back to the master."""
        self._intake.close_lane(lane)

    def open_lane(self, lane: int) -> None:
        """Take connections from a lane again."""
        self._intake.open_lane(lane)

    def _promote(self) -> None:
        # A task begins with a copy of the context that starts it, and this may be a connection's:
        # what the app has set there (a user, say) is no business of the next one's.
        self._clean.run(self._nursery.start_soon, self._lead)

    async def _lead(self) -> None:
        take = self._intake.take
        while True:
            await trio.lowlevel.wait_readable(self._intake.fileno())
            for _ in range(BATCH):
                try:
                    taken = take()
                except BlockingIOError:
                    break
                except EOFError:
                    return
                if taken is None:
                    continue
                connection = self._serve(*taken)
                trap = begin(connection)
                if trap is not None:
                    self._promote()
                    await carry_on(connection, trap)
                    return
                if contextvars.copy_context() != self._clean:
                    # The app has left something in this task's context without ever waiting.
                    self._promote()
                    return


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
        self._listening = Listening(sock, admission, slot, socket.SocketType)
        self._admission = admission
        self._start = start
        self._batch = batch
        self._complained = False
        self._room = trio.Event()

    async def run(self) -> None:
        """Accept until cancelled, or the doors are closed."""
        if self._listening.closed:
            return
        with self._listening.waiter() as waiter:
            while not self._listening.closed:
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

    def close(self) -> None:
        """Close the listener; idempotent.  ``run`` has to be cancelled, too: it may be waiting."""
        self._listening.close()

    async def _accept(self) -> None:
        socks, exhausted = self._listening.take(self._batch)
        for sock in socks:
            self._start(sock)
        if exhausted is not None:
            if not self._complained:
                logger.warning("can't accept: %s; waiting for descriptors", exhausted.strerror)
            await trio.sleep(0.1)
        self._complained = exhausted is not None

    def take_last(self) -> None:
        """Accept who waits and close the listener: the server stops."""
        for sock in self._listening.take_last():
            self._start(sock)
