"""Requests that wait for room at an upstream: first come, first served, over all workers.

Each worker keeps its own requests in a line and writes down since when the first of them waits.
Who gives a place back rings at the worker whose first has waited longest; that one tries, and goes
on waiting if somebody was faster.  Who has got a place rings on, because there may be more.

A ring may find nobody: its worker may be stopped by a debugger, or be about to die.  So the first
of each line looks for itself after ``PATIENCE``, whoever's turn it is.  That look also finds what
nobody rings for: an endpoint that has come, or has come back, is a word in shared memory.  And if
it finds a place that another worker should have taken, that one does not hear, and for a while its
turn is nobody's: else one worker that is stopped would bring all others to one place per look.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeVar, final

import trio

from balancer.upstream.directory import NoEndpoint
from balancer.upstream.errors import ClientLeft

if TYPE_CHECKING:
    from collections.abc import Callable, Container

__all__ = ["PATIENCE", "Queue", "Ticket"]

PATIENCE = 0.1
"""Seconds that the first of a line relies on being called."""
DEAF = 2.0
"""Seconds that nobody waits for a worker that has not heard."""
RETRY_AFTER = 1
"""Seconds after which a client may come again that found no room."""

_Place = TypeVar("_Place")


class Waiting(Protocol):
    """The machine's queue, as far as one worker writes and reads it."""

    row: int

    def wait(self, count: int, since: float) -> None:
        """How many wait here, and since when the first does."""

    def waiting(self) -> int:
        """How many wait, of all workers."""

    def oldest_waiter(self, without: Container[int] = ()) -> int | None:
        """Whose first has waited longest, of all others."""


@final
class Ticket:
    """One request's place in the line; ``abandon`` when nobody wants the answer any more."""

    __slots__ = ("_called", "abandoned", "since")

    def __init__(self) -> None:
        self.since = monotonic()
        self.abandoned = False
        self._called = trio.Event()

    def call(self) -> None:
        """It may be its turn."""
        self._called.set()

    def abandon(self) -> None:
        """Leave the line."""
        self.abandoned = True
        self._called.set()

    async def called(self, until: float) -> None:
        """Wait to be called, at most until then (the event loop's clock)."""
        with trio.move_on_at(until):
            await self._called.wait()
        self._called = trio.Event()


@final
class Queue:
    """One worker's line.

    Args:
        machine: Where it is written down.
        limit: How many may wait, of all workers; 0: nobody.
        timeout: Seconds.
        ring: Wakes the worker of a row.
    """

    def __init__(
        self, machine: Waiting, limit: int, timeout: float, ring: Callable[[int], None]
    ) -> None:
        self._machine = machine
        self._limit = limit
        self._timeout = timeout
        self._ring = ring
        self._line: deque[Ticket] = deque()
        self._deaf: dict[int, float] = {}  # rows, and until when (the event loop's clock)

    def __len__(self) -> int:
        return len(self._line)

    async def wait(self, claim: Callable[[], _Place | None], ticket: Ticket) -> _Place:
        """Wait until ``claim`` returns something; it is called when it may be this one's turn.

        Raises:
            NoEndpoint: the queue is full, or it took too long; and whatever ``claim`` raises.
            ClientLeft: the ticket was abandoned.
        """
        if self._machine.waiting() >= self._limit:
            raise NoEndpoint(
                "every upstream has all it can take, and so has the queue", RETRY_AFTER
            )
        deadline = trio.current_time() + self._timeout
        self._line.append(ticket)
        self._write_down()
        try:
            # a place that became free before that was written down has called nobody
            place = claim() if self._is_next(ticket) else None
            while place is None:
                place = await self._next_try(claim, ticket, deadline)
            return place
        finally:
            self._line.remove(ticket)
            self._write_down()
            self.rung()  # the next one is the first now, and has to look for itself
            self.wake()

    async def _next_try(
        self, claim: Callable[[], _Place | None], ticket: Ticket, deadline: float
    ) -> _Place | None:
        until = deadline
        if self._line[0] is ticket:
            until = min(until, trio.current_time() + PATIENCE)
        await ticket.called(until)
        if ticket.abandoned:
            raise ClientLeft
        now = trio.current_time()
        is_next = self._is_next(ticket)
        patient = now < until and not is_next
        place = claim() if self._line[0] is ticket and not patient else None
        if place is not None and not is_next:
            self._note_deaf(now)
        if place is None and now >= deadline:
            seconds = f"{self._timeout:g} s"
            raise NoEndpoint(f"no upstream had room for this request within {seconds}", RETRY_AFTER)
        return place

    def wake(self) -> None:
        """A place may be free: it is for who has waited longest."""
        rows = {self._next_row()}
        if self._deaf:  # who hears again isn't passed over
            rows.add(self._machine.oldest_waiter())
        for row in rows:
            if row == self._machine.row:
                self.rung()
            elif row is not None:
                self._ring(row)

    def rung(self) -> None:
        """Somebody says so: the first of this line is to try."""
        if self._line:
            self._line[0].call()

    def _is_next(self, ticket: Ticket) -> bool:
        return self._line[0] is ticket and self._next_row() == self._machine.row

    def _next_row(self) -> int | None:
        """Whose turn it is."""
        if self._deaf:
            now = trio.current_time()
            self._deaf = {row: until for row, until in self._deaf.items() if now < until}
        return self._machine.oldest_waiter(self._deaf)

    def _note_deaf(self, now: float) -> None:
        """There was a place, and whose turn it was has not taken it."""
        row = self._next_row()
        if row is not None and row != self._machine.row:
            self._deaf[row] = now + DEAF

    def _write_down(self) -> None:
        self._machine.wait(len(self._line), self._line[0].since if self._line else 0.0)
