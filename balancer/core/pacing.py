"""For whom a lane waits, and how long, so that a burst is spread evenly.

The kernel decides which of the workers runs next, and whoever has a core can acknowledge hundreds
of connections while the others wait for one: five workers on two cores shared a burst of 100 as
41/24/23/8/4.  Here are the two things that ``lead`` needs to let the others catch up: who has a
*young* hand-off, one that may be acknowledged any moment, and how much waiting is left.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, final

from balancer.core.books import NEVER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balancer.core.books import Connection, WorkerBook

__all__ = ["LEAD", "Lead", "Patience", "Young"]

MOST = 1024
"""Hand-offs that are noted while nobody asks for them; who isn't among them isn't waited for."""

REFILL = 0.05
"""Seconds of patience that come back in a second without a queue."""


@final
@dataclass(frozen=True, slots=True)
class Lead:
    """How long those that are ahead wait, in seconds."""

    age: float
    """For one hand-off, since it was sent: what is older has met a worker that is blocked."""
    patience: float
    """In all, while there is a queue."""


LEAD = Lead(age=0.02, patience=0.04)
"""Measured with bursts of 100 over five workers on two cores.  A worker that can run gets a core
within a few time slices (3 ms each), so its age tells it from one that is blocked: with other
programs filling both cores (load 5), one of 4,000 hand-offs took more than 10 ms.  The waits of a
burst added up to 5 to 15 ms, to 30 under that load, and nearly all of it was time in which the
workers that were waited for were at work.  Both are well below ``--recall``."""


@final
class Young:
    """Hand-offs that may be acknowledged any moment, and who of their workers has had least.

    Each is only noted, with the standing that its worker has with it, until somebody asks: by then
    most have been answered.  Of the hand-offs of a worker the newest counts, which is answered
    last.  O(log n), or O(1) where nobody asks.
    """

    __slots__ = ("_age", "_books", "_heap", "_newest", "_noted")

    def __init__(self, age: float, books: Mapping[int, WorkerBook]) -> None:
        self._age = age
        self._books = books
        self._heap: list[tuple[float, int, Connection, int]] = []
        self._newest: dict[int, int] = {}  # number, by worker
        self._noted: deque[Connection] = deque(maxlen=MOST)

    def note(self, connection: Connection) -> None:
        """A connection is handed over."""
        noted = self._noted
        # What has been answered is let go soon: its memory, still in the cache, serves the next
        # connection.  (Keeping 1,024 of them cost the master half a microsecond for each.)
        while noted and noted[0].sent_at == NEVER:
            noted.popleft()
        noted.append(connection)

    def forget(self, worker: int) -> None:
        """A worker is gone for good."""
        self._newest.pop(worker, None)

    def clear(self) -> None:
        """Nobody is waited for."""
        self._noted.clear()
        self._newest.clear()
        self._heap.clear()

    def last(self, now: float, late: set[int]) -> tuple[float, float]:
        """The lowest standing, and until when it counts; (NEVER, NEVER) when there is none.

        Workers whose hand-off is too old are added to ``late``.
        """
        if self._noted:
            self._sort_in()
        heap = self._heap
        while heap:
            standing, number, connection, worker = heap[0]
            sent_at = connection.sent_at
            if (
                sent_at != NEVER  # not answered, nor taken back
                and connection.worker == worker
                and self._newest.get(worker) == number
                and not self._books[worker].held
            ):
                until = sent_at + self._age
                if now < until:
                    return standing, until
                late.add(worker)
            heappop(heap)
        return NEVER, NEVER

    def _sort_in(self) -> None:
        heap, newest = self._heap, self._newest
        for connection in self._noted:
            worker, number = connection.worker, connection.number
            if connection.sent_at != NEVER:
                newest[worker] = number
                heappush(heap, (connection.standing, number, connection, worker))
        self._noted.clear()
        # Stale entries that never surface would grow the heap for ever.
        if len(heap) > 2 * len(newest) + 64:
            heap[:] = [entry for entry in heap if newest.get(entry[3]) == entry[1]]
            heapify(heap)


@final
class Patience:
    """How much longer a lane may wait.

    Patience comes back slowly, and only while nothing is queued: so no connection waits longer
    than all of it however many hand-offs it waits for, and a lane that always has a queue is not
    slowed down any more once it has waited so long.  A lane that loses patience has none until
    half of it is back.
    """

    __slots__ = ("_bound", "_left", "lost", "until", "whole")

    def __init__(self, lead: Lead) -> None:
        self._bound = self._left = lead.patience
        self.until = NEVER
        """When it is lost, if the lane goes on waiting; NEVER while it doesn't wait."""
        self.lost = False
        """Whether the lane must not wait."""
        self.whole = True
        """Whether nothing of it has been used."""

    def wait(self, now: float) -> float:
        """The lane waits (still); until when it may."""
        if self.until == NEVER:
            self.until = now + self._left
        return self.until

    def go_on(self, now: float) -> None:
        """The lane doesn't wait (any more)."""
        if self.until != NEVER:
            self.whole = False
            self._left = self.until - now  # less than none, where the clock came late
            self.until = NEVER

    def loses(self, now: float) -> bool:
        """Whether this is the moment at which it is lost."""
        if now < self.until:
            return False
        self.go_on(now)
        self.lost = True
        return True

    def rested(self, seconds: float) -> bool:
        """There was no queue for so long; True when lost patience is back."""
        self._left = min(self._bound, self._left + REFILL * seconds)
        self.whole = self._left == self._bound
        if self.lost and 2 * self._left >= self._bound:
            self.lost = False
            return True
        return False
