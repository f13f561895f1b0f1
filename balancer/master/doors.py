"""The listeners that the master accepts from, and when each of them is watched.

Listeners are their owners'; they must be taken out (``remove``) before they are closed.  The epoll
is the dispatcher's.
"""

from __future__ import annotations

import logging
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from balancer.core.books import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from balancer.core.books import Lane
    from balancer.net.listener import Listener

__all__ = ["EXHAUSTED_PAUSE", "Door", "Doors", "Seldom"]

logger = logging.getLogger("balancer")

EXHAUSTED_PAUSE = 0.1
"""Seconds without accepting after EMFILE and the like."""

WARNING_PAUSE = 60.0
"""Seconds between two warnings of the same thing."""


@final
class Seldom:
    """Lets a warning through once a minute for each subject."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}

    def passes(self, subject: int) -> bool:
        """Whether it is time to say it (again)."""
        now = time.monotonic()
        if now - self._last.get(subject, -NEVER) < WARNING_PAUSE:
            return False
        self._last[subject] = now
        return True


@final
@dataclass(slots=True, eq=False)
class Door:
    """A listener that the master accepts from."""

    listener: Listener
    watched: bool = False
    resting: bool = False  # nobody was free for what it brought: no more of it in this shift


@final
class Doors:
    """Watches the listeners that don't rest, of the lanes that are accepting, and no others."""

    def __init__(
        self, epoll: select.epoll, lanes: Mapping[int, Lane], accepting: Callable[[int], bool]
    ) -> None:
        self._epoll = epoll
        self._lanes = lanes
        self._accepting = accepting
        self._doors: dict[int, Door] = {}  # by fd
        self._seldom = Seldom()
        self.paused_until = NEVER
        """NEVER: not paused for want of descriptors."""

    def get(self, fd: int) -> Door | None:
        """The door with this descriptor."""
        return self._doors.get(fd)

    def add(self, listener: Listener) -> None:
        """Accept from a listener whenever its lane is accepting; idempotent."""
        self._doors.setdefault(listener.fileno(), Door(listener))
        self.adjust()

    def remove(self, listener: Listener) -> None:
        """Accept from it no more; unknown listeners are ignored."""
        door = self._doors.pop(listener.fileno(), None)
        if door is not None and door.watched:
            self._epoll.unregister(listener.fileno())

    def adjust(self) -> None:
        """Watch those that should be watched now."""
        open_ = self.paused_until == NEVER
        for fd, door in self._doors.items():
            lane = door.listener.lane
            if door.resting and not self._lanes[lane].stuck:
                door.resting = False
            wanted = open_ and not door.resting and self._accepting(lane)
            if wanted != door.watched:
                door.watched = wanted
                if wanted:
                    self._epoll.register(fd, select.EPOLLIN)
                else:
                    self._epoll.unregister(fd)

    def wake(self) -> None:
        """Nobody rests any more: a new shift begins."""
        for door in self._doors.values():
            door.resting = False
        self.adjust()

    def pause(self, error: OSError) -> None:
        """Out of descriptors: accepting again at once would only fail again."""
        if self._seldom.passes(0):
            logger.warning(
                "can't accept: %s; the kernel queues connections until descriptors are free",
                error.strerror,
            )
        self.paused_until = time.monotonic() + EXHAUSTED_PAUSE

    def end_pause(self, now: float) -> None:
        """Accept again, when the pause is over."""
        if self.paused_until <= now:
            self.paused_until = NEVER
