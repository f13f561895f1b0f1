"""Simulated time: what happens next, and the loop that lets it happen.

An event is a tuple of time, number, function and argument, and nothing else: with ten million
connections there are forty million of them.  The number makes the order of what happens at one
moment that in which it was planned, so a run depends on its seed alone.

There are two heaps: what comes soon (wake-ups, acks, the next arrival) is a few hundred events, and
isn't sifted through the ends of the work of ten thousand workers.  An event is in either, whichever
is cheaper; the earlier of the two heads is next.
"""

from __future__ import annotations

import gc
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NEVER", "Clock"]

NEVER = float("inf")

SOON = 0.001
"""Seconds; what comes later than that from now is in the heap of the late."""

_Event = tuple[float, int, "Callable[[Any], None]", Any]


@final
class Clock:
    """Seconds since the start of the run, and everything that is still to come."""

    __slots__ = ("_late", "_numbers", "_soon", "now")

    def __init__(self) -> None:
        self._numbers = count()
        # Each has one that never comes, so neither is ever empty.
        self._soon: list[_Event] = [(NEVER, next(self._numbers), print, None)]
        self._late: list[_Event] = [(NEVER, next(self._numbers), print, None)]
        self.now = 0.0

    def at(self, time: float, act: Callable[[Any], None], argument: Any = None) -> None:  # noqa: ANN401
        """Call a function at a time, with its one argument."""
        heap = self._soon if time < self.now + SOON else self._late
        heappush(heap, (time, next(self._numbers), act, argument))

    def run(self) -> None:
        """Until nothing is to come."""
        soon, late = self._soon, self._late
        # The events are tuples by the million, which would start a collection every 700 of them;
        # there are no cycles among them.
        collecting = gc.isenabled()
        gc.disable()
        try:
            while True:
                heap = soon if soon[0] < late[0] else late
                if heap[0][0] == NEVER:
                    return
                self.now, _, act, argument = heappop(heap)
                act(argument)
        finally:
            if collecting:
                gc.enable()
