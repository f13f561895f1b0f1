"""The half of a worker that needs no event loop: what it is told, and what follows from that.

A shell gives it a loop: ``worker`` trio's, ``aio.worker`` asyncio's.  It starts the app, says that
it is ready, waits for the end, and stops the app; what happens in between is decided here::

    starting   Quit, or the master's death: it is given up, without a word
    ready      Drain: the doors close; Drain again: the earlier end of the two
    draining   idle, or out of time: it is at its end, or (told to stay) says Drained
               told to stay, then Resume: the doors open, and it says Resumed
    any        Quit: it is at its end now; Reopen: the log files; SetLogLevel: how much to log;
               Begin: it accepts from the listeners that were held back

A worker never leaves on its own.  On SIGTERM, when it has served ``max_requests``, or when its
service has had enough, it tells the master that it wants to, and goes on until the master, who has
recalled what was on its way, says ``Drain``.  EOF on the channel is the master's death: then it
drains by itself, as on a stop.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from balancer import log
from balancer.core.admission import Admission, Doors
from balancer.core.messages import (
    Begin,
    BootFailed,
    Drain,
    Drained,
    Leaving,
    Quit,
    Reopen,
    Resume,
    Resumed,
    SetLogLevel,
)
from balancer.errors import AppError
from balancer.worker.intake import RequestLimit
from balancer.worker.stderr import take_back

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balancer.core.messages import WorkerConfig, WorkerMessage, WorkerRequest
    from balancer.errors import BalancerError
    from balancer.net.slots import SlotWriter
    from balancer.worker.accesslog import AccessLog
    from balancer.worker.hooks import WorkerHooks

__all__ = ["FAREWELL", "LAST_STOP", "Shell"]

LAST_STOP = 1.0
"""Seconds for the app to stop, however late it is."""
FAREWELL = 1.0
"""Seconds for the last words on connections whose time is over."""


class Acceptor(Protocol):
    """Accepts from an inherited listener."""

    def room(self) -> None: ...

    def take_last(self) -> None: ...


class Receiver(Protocol):
    """Takes connections from the master."""

    def room(self) -> None: ...


class Event(Protocol):
    """Trio's and asyncio's."""

    def set(self) -> object: ...


class Shell(ABC):
    """What both shells are; the abstract methods are the loop's."""

    _receiver: Receiver
    _acceptors: Sequence[Acceptor]
    _idle: Event
    """No connection is left."""
    _done: Event
    """It is at its end."""

    def __init__(
        self,
        config: WorkerConfig,
        slot: SlotWriter,
        hooks: WorkerHooks | None,
        access: AccessLog | None,
    ) -> None:
        self._config = config
        self._slot = slot
        self._hooks = hooks
        self._access = access
        self._admission = Admission(config.worker_connections)
        self._deadline = math.inf  # of the drain
        self._asked_to_leave = False
        self._leaving = False  # it was told to
        self.held = False
        """The listeners are still another server's: nothing is accepted from them."""
        self._stats: SlotWriter | RequestLimit = slot
        if config.max_requests:
            limit = config.max_requests + random.randint(0, config.max_requests_jitter)
            self._stats = RequestLimit(slot, limit, self._enough)

    # -- the loop's ---------------------------------------------------------------------------

    @abstractmethod
    def _now(self) -> float:
        """The loop's time."""

    @abstractmethod
    def _say(self, message: WorkerMessage) -> None:
        """Send it to the master, soon."""

    @abstractmethod
    def _give_up_starting(self) -> None:
        """The app isn't wanted any more; nothing if it runs already."""

    @abstractmethod
    def _start_accepting(self) -> None:
        """Nothing is held any more; may be said before it serves."""

    @abstractmethod
    def _stop_accepting(self, *, for_good: bool) -> None:
        """No more from inherited listeners; ``for_good`` closes them."""

    @abstractmethod
    def _begin_drain(self, order: Drain) -> None:
        """Let every connection end, for so many seconds, then call ``_drained``."""

    @abstractmethod
    def _end_drain(self) -> None:
        """A drain that didn't ask to leave is over: connections stay, and come, again."""

    # -- what it wants ------------------------------------------------------------------------

    def leave(self, reason: str) -> None:
        """As in ``Host``."""
        if not self._asked_to_leave:
            self._asked_to_leave = True
            self._say(Leaving(reason, replace_first=True))

    def _enough(self) -> None:
        self.leave("max-requests")

    # -- what it is told ----------------------------------------------------------------------

    def _obey(self, request: WorkerRequest) -> None:
        """Do what the master says."""
        if isinstance(request, Quit):
            if self._hooks is not None:
                self._hooks.worker_int()
            self._deadline = self._now()
            self._give_up_starting()
            self._done.set()
        elif isinstance(request, Reopen):
            if self._access is not None:
                self._access.reopen()
        elif isinstance(request, SetLogLevel):
            log.set_level(request.level)
        elif isinstance(request, Resume):
            self._resume()
        elif isinstance(request, Begin):
            self.held = False
            self._start_accepting()
        else:
            self._drain(request)

    def _orphaned(self) -> None:
        """The master is gone."""
        take_back()
        self._give_up_starting()
        self._drain(Drain(self._config.graceful_timeout, closing=True))

    def _drain(self, order: Drain) -> None:
        if order.closing and not self.held:  # who waits now is not for anybody else
            for acceptor in self._acceptors:
                acceptor.take_last()
        self._leaving |= order.leave
        self._stop_accepting(for_good=self._leaving)
        self._admission.doors = Doors.CLOSED
        if order.leave:
            self._deadline = min(self._deadline, self._now() + order.seconds)
        self._begin_drain(order)

    def _resume(self) -> None:
        if self._leaving or self._admission.doors is Doors.OPEN:
            return
        if self._admission.reopened():
            self._receiver.room()
        self._end_drain()
        self._say(Resumed())

    def _drained(self, order: Drain) -> None:
        if order.leave:
            self._done.set()
        else:
            self._say(Drained())

    # -- what happens -------------------------------------------------------------------------

    def _failed(self, error: BalancerError) -> BootFailed:
        """What the master hears of a failed start."""
        return BootFailed(str(error), app=isinstance(error, AppError))

    def _ended(self) -> None:
        """A connection has ended."""
        self._slot.closed()
        if self._admission.ended():
            self._receiver.room()
        for acceptor in self._acceptors:
            acceptor.room()
        if not self._admission.active:
            self._idle.set()

    def _time_to_stop(self) -> float:
        """Seconds that the app has for that."""
        return max(self._deadline - self._now(), LAST_STOP)
