"""A worker's side of the endpoints' table.

What a request needs is written by strides: ``_active[i]`` is this worker's cell of endpoint i, so
that counting is one index.

Costs with 8 workers and 8 endpoints on CPython 3.11, in µs: ``begin`` and ``end`` together 0.25,
``claim`` with a limit and ``end`` 0.6, ``succeeded`` without trouble 0.07, ``version`` 0.1,
``active`` and ``waiting`` 0.3 each.  Not for every request: ``oldest_waiter`` 1.2, ``failed`` 3,
``spent``, which retries ask for, and ``states`` 36, which another version asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from balancer.net.endpoints.heads import to_ns
from balancer.net.endpoints.layout import (
    ENDPOINTS,
    HEAD_WORDS,
    HEADS_AT,
    Counter,
    HeadWord,
    PoolCounter,
    TableWord,
)

if TYPE_CHECKING:
    from collections.abc import Container

    from balancer.net.endpoints.heads import EndpointRow
    from balancer.net.endpoints.table import EndpointTable

__all__ = ["WorkerView"]


@final
class WorkerView:
    """One worker's counters of one pool, and the sums over all workers.

    Args:
        table: The table, which must stay open.
        row: The worker's, which the master has admitted.
        pool: The pool's number, which the master has added.
    """

    __slots__ = (
        "_active", "_active_at", "_failures", "_generations", "_mine", "_requests", "_retries",
        "_run_generations", "_runs", "_stale", "_step", "_troubles", "_waiting_at",
        "_words", "pool", "row", "table",
    )  # fmt: skip

    def __init__(self, table: EndpointTable, row: int, pool: int = 0) -> None:
        if not 0 <= row < table.rows_used:
            raise ValueError(f"worker row {row} isn't admitted to the endpoints' table")
        self.table = table
        self.row = row
        self.pool = pool
        self._words = table.words
        self._active_at = table.layout.counters(0, Counter.ACTIVE)
        self._step = table.layout.step
        self._waiting_at = table.layout.pools(pool, PoolCounter.WAITING)
        self._active = self._column(Counter.ACTIVE)
        self._requests = self._column(Counter.REQUESTS)
        self._failures = self._column(Counter.FAILURES)
        self._retries = self._column(Counter.RETRIES)
        self._stale = self._column(Counter.STALE)
        self._runs = self._column(Counter.RUN)
        self._run_generations = self._column(Counter.RUN_GENERATION)
        self._troubles = self._heads(HeadWord.TROUBLE)
        self._generations = self._heads(HeadWord.GENERATION)
        after = self._waiting_at + len(PoolCounter) * table.layout.cells
        self._mine = table.words[self._waiting_at + row + 1 : after : table.layout.cells]

    def close(self) -> None:
        """Let go of the table, so that it can be closed."""
        for view in (
            self._active, self._requests, self._failures, self._retries, self._stale, self._runs,
            self._run_generations, self._troubles, self._generations, self._mine,
        ):  # fmt: skip
            view.release()

    # a request

    @property
    def version(self) -> int:
        """Another number after every change that ``states`` shows; look before you read them."""
        version: int = self._words[_VERSION]
        return version

    def begin(self, index: int) -> None:
        """A request goes to an endpoint."""
        self._active[index] += 1
        self._requests[index] += 1
        self._mine[_REQUESTS] += 1

    def claim(self, index: int, limit: int) -> bool:
        """``begin``, unless more than ``limit`` requests would be in progress; 0 is no limit.

        Two workers that claim the last place at the same time may both be refused, and never both
        be let in but for the nanoseconds that a processor may hold a write back.  So who is refused
        says ``wait`` first, and then tries once more: a place that became free in between has woken
        nobody.
        """
        self._active[index] += 1
        if limit and self.active(index) > limit:
            self._active[index] -= 1
            return False
        self._requests[index] += 1
        self._mine[_REQUESTS] += 1
        return True

    def end(self, index: int) -> None:
        """A request that had begun is over, whatever became of it."""
        self._active[index] -= 1

    def succeeded(self, index: int) -> None:
        """An endpoint answered: its failures before are no longer in a row."""
        if self._troubles[index]:
            self.table.heads.end_run(index)

    def failed(self, index: int) -> int:
        """An endpoint didn't answer; how often in a row now, by all workers' count."""
        generation = self._generations[index]
        if self._run_generations[index] != generation:
            # in this order, or the old run would count in the new generation
            self._runs[index] = 0
            self._run_generations[index] = generation
        self._runs[index] += 1
        self._failures[index] += 1
        # last: who finds trouble without a run loses nothing, but a run without trouble would
        # survive the next success
        self._troubles[index] = 1
        return self.table.run(index)

    def active(self, index: int) -> int:
        """Requests in progress at an endpoint, of all workers."""
        at = self._active_at + index * self._step
        words = self._words
        return sum(words[at : at + words[_ROWS_USED] + 1])

    # retries

    def retried(self, index: int) -> None:
        """A request is repeated at an endpoint."""
        self._retries[index] += 1
        self._mine[_RETRIES] += 1

    def spent(self) -> tuple[int, int]:
        """All attempts and all retries of all workers; neither number ever goes down."""
        return self.table.spent(self.pool)

    def stale(self, index: int) -> None:
        """A connection that was to be used again had ended."""
        self._stale[index] += 1

    # the queue

    def wait(self, count: int, since: float) -> None:
        """How many requests of this worker wait for room, and since when the oldest one does."""
        self._mine[_WAITING] = count
        self._mine[_WAITING_SINCE] = max(to_ns(since), 1) if count else 0

    def waiting(self) -> int:
        """Requests that wait for room, of all workers."""
        at, words = self._waiting_at, self._words
        return sum(words[at : at + words[_ROWS_USED] + 1])

    def oldest_waiter(self, without: Container[int] = ()) -> int | None:
        """The row of the worker to wake when there is room; None when none (else) waits."""
        return self.table.oldest_waiter(without, self.pool)

    # health

    def states(self) -> list[EndpointRow]:
        """All endpoints that there are, of all pools."""
        return self.table.heads.states()

    def eject(self, index: int, until: float, *, times: int, now: float) -> bool:
        """Keep an endpoint out until then; see ``Heads.eject``."""
        return self.table.heads.eject(index, until, times=times, now=now)

    def _column(self, counter: Counter) -> memoryview:
        """This worker's cell of a counter for every endpoint."""
        first = self.table.layout.counters(0, counter) + self.row + 1
        return self._words[first :: self._step]

    def _heads(self, word: HeadWord) -> memoryview:
        first = HEADS_AT + word
        return self._words[first : HEADS_AT + ENDPOINTS * HEAD_WORDS : HEAD_WORDS]


# plain ints: indexing by an enum member costs a call of __index__ on every use
_VERSION = int(TableWord.VERSION)
_ROWS_USED = int(TableWord.ROWS_USED)
_WAITING = int(PoolCounter.WAITING)
_WAITING_SINCE = int(PoolCounter.WAITING_SINCE)
_REQUESTS = int(PoolCounter.REQUESTS)
_RETRIES = int(PoolCounter.RETRIES)
