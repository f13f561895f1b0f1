"""Where connections come in, on asyncio: ``worker.receiver`` for a loop of callbacks.

A callback runs to its end before anything else does, so that between receiving a connection and
answering for it nothing can come; the transport, which touches it, is made after that.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, final

from balancer.worker.intake import Intake, Listening

if TYPE_CHECKING:
    import select
    from collections.abc import Callable

    from balancer.core.admission import Admission
    from balancer.net.handoff import HandoffReceiver
    from balancer.net.slots import SlotWriter

    Start = Callable[[socket.socket], None]

__all__ = ["KernelAcceptor", "Receiver"]

logger = logging.getLogger("balancer")

BATCH = 16
"""Connections taken in one go, before the others get their turn."""
PAUSE = 0.1
"""Seconds without accepting when there are no descriptors."""


@final
class Receiver:
    """Takes connections from the master; owns the worker's end of the pair."""

    def __init__(
        self,
        pair: HandoffReceiver,
        admission: Admission,
        slot: SlotWriter,
        families: tuple[int, ...],
        start: Start,
    ) -> None:
        # Not the plain type: loops count the users of a socket.socket, and take its descriptor.
        self._intake = Intake(pair, admission, slot, families, socket.socket)
        self._start = start

    def start(self) -> None:
        """Receive from now on."""
        asyncio.get_running_loop().add_reader(self._intake.fileno(), self._ready)

    def stop(self) -> None:
        """Receive no more: what is on its way is the master's to take back."""
        asyncio.get_running_loop().remove_reader(self._intake.fileno())

    def room(self) -> None:
        """Tell the master that a worker it knows as full has room again."""
        self._intake.room()

    def close_lane(self, lane: int) -> None:
        """Take nothing more from a lane; what is under way already goes back to the master."""
        self._intake.close_lane(lane)

    def open_lane(self, lane: int) -> None:
        """Take connections from a lane again."""
        self._intake.open_lane(lane)

    def _ready(self) -> None:
        for _ in range(BATCH):
            try:
                taken = self._intake.take()
            except BlockingIOError:
                return
            except EOFError:
                self.stop()
                return
            if taken is not None:
                self._start(taken[0])


@final
class KernelAcceptor:
    """Accepts from an inherited listener, which it owns, while there is room."""

    def __init__(
        self,
        sock: socket.socket,
        admission: Admission,
        slot: SlotWriter,
        start: Start,
        *,
        batch: int,
    ) -> None:
        self._listening = Listening(sock, admission, slot, socket.socket)
        self._admission = admission
        self._start = start
        self._batch = batch
        self._complained = False
        self._waiter: select.epoll | None = None
        self._watching = False

    def start(self) -> None:
        """Accept from now on."""
        if self._listening.closed:
            return
        self._waiter = self._listening.waiter()
        self._watch()

    def pause(self) -> None:
        """Accept no more, until ``start``; idempotent."""
        self._unwatch()
        if self._waiter is not None:
            self._waiter.close()
            self._waiter = None

    def stop(self) -> None:
        """Accept no more, for good; idempotent."""
        self.pause()
        self._listening.close()

    def take_last(self) -> None:
        """Accept who waits and close the listener: the server stops."""
        for sock in self._listening.take_last():
            self._start(sock)

    def room(self) -> None:
        """A connection has ended."""
        self._watch()

    def _watch(self) -> None:
        if self._waiter is not None and not self._watching:
            self._watching = True
            asyncio.get_running_loop().add_reader(self._waiter.fileno(), self._ready)

    def _unwatch(self) -> None:
        if self._waiter is not None and self._watching:
            self._watching = False
            asyncio.get_running_loop().remove_reader(self._waiter.fileno())

    def _ready(self) -> None:
        if not self._admission.open:
            self._unwatch()  # until room() says so
            return
        assert self._waiter is not None
        if not self._waiter.poll(0):  # another worker has it
            return
        socks, exhausted = self._listening.take(self._batch)
        for sock in socks:
            self._start(sock)
        if exhausted is not None:
            if not self._complained:
                logger.warning("can't accept: %s; waiting for descriptors", exhausted.strerror)
            self._unwatch()
            asyncio.get_running_loop().call_later(PAUSE, self._watch)
        self._complained = exhausted is not None
