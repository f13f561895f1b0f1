"""The lanes that a reload adds and takes away, and who waits until one is empty.

A lane whose listener is closed goes when nothing of it is under way to a worker any more; the
worker may take its time with the answer.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from collections.abc import Collection

    from balancer.core.books import Connection
    from balancer.core.scheduler import Scheduler

__all__ = ["Lanes"]


@final
class Lanes:
    """The scheduler's lanes; the master's copies of what is queued there are closed here."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._ending: set[int] = set()
        self._moved: trio.Event | None = None  # somebody waits for it

    def add(self, index: int) -> None:
        """A lane of a new number: nothing is accepted for it before somebody knows it."""
        self._scheduler.roster.add_lane(index)

    def remove(self, index: int) -> int:
        """A lane whose listeners are closed goes; how many waited there, and are cut."""
        cut = _close(self._scheduler.empty(index))
        self._ending.add(index)
        self.look()
        return cut

    def look(self) -> None:
        """Some of what goes may have nothing under way any more."""
        for index in list(self._ending):
            left = self._scheduler.remove_lane(index)
            if left is not None:
                self._ending.remove(index)
                _close(left)  # of a worker that has died since

    def moved(self) -> None:
        """Connections have moved: somebody may have waited for that."""
        if self._moved is not None:
            self._moved.set()
            self._moved = None

    async def settled(self, lanes: Collection[int] | None = None) -> None:
        """Wait until nothing of these lanes, or of all, is queued or in flight any more."""
        while self._pending(lanes):
            if self._moved is None:
                self._moved = trio.Event()
            await self._moved.wait()

    def _pending(self, lanes: Collection[int] | None) -> int:
        if lanes is None:
            return self._scheduler.pending()
        there = self._scheduler.lanes
        return sum(self._scheduler.waiting(lane) for lane in lanes if lane in there)

    def abandon(self) -> int:
        """Close what nobody took; how many that were."""
        return sum(_close(self._scheduler.empty(lane)) for lane in self._scheduler.lanes)


def _close(connections: Collection[Connection]) -> int:
    for connection in connections:
        os.close(connection.handle)
    return len(connections)
