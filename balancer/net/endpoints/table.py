"""The endpoints' table as a whole: the file, its rows, and what the master does about dead workers.

A worker's row is its row of ``balancer.net.slots``.  ``admit`` comes before the worker runs,
``depart`` when it is dead and before its row is given out again: until then its requests in
progress count, since nobody has said yet that they ended.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from balancer.net.endpoints.heads import Heads
from balancer.net.endpoints.layout import (
    CUMULATIVE,
    EDITIONS_AT,
    ENDPOINTS,
    HEAD_WORDS,
    HEADS_AT,
    Counter,
    HeadWord,
    Layout,
    PoolCounter,
    TableWord,
)
from balancer.net.slots import ROWS

if TYPE_CHECKING:
    from collections.abc import Container

    from balancer.net.endpoints.address import Address

__all__ = ["ANY_EDITION", "EndpointTable", "Totals"]

ANY_EDITION = 2**64 - 1


@final
@dataclass(frozen=True, slots=True)
class Totals:
    """What all workers, also those that are gone, have counted of one endpoint."""

    active: int
    requests: int
    failures: int
    retries: int
    stale: int
    run: int


@final
class EndpointTable:
    """The table; owns the memfd and its mapping.

    Attributes:
        fd: For those who map it too.
        words: All of it; ``layout`` says what is where.
        layout: Where things are.
        heads: What the endpoints are and how they do.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, 0)
        self.words = memoryview(self._map).cast("Q")
        self.layout = Layout(self.words[TableWord.CAPACITY])
        self.heads = Heads(self.words)

    @classmethod
    def create(cls, *, rows: int = ROWS) -> EndpointTable:
        """A new table without endpoints, with room for ``rows`` workers."""
        fd = os.memfd_create("balancer-endpoints", os.MFD_CLOEXEC)
        os.ftruncate(fd, Layout(rows).size)
        os.pwrite(fd, rows.to_bytes(8, "little"), 8 * TableWord.CAPACITY)
        made = cls(fd)
        made.add_pool(0)
        return made

    @classmethod
    def open(cls, fd: int) -> EndpointTable:
        """The table of another process; takes the descriptor over."""
        return cls(fd)

    def close(self) -> None:
        """Unmap and close; views must have been closed."""
        self.words.release()
        self._map.close()
        os.close(self.fd)

    # the helper

    def beat(self) -> None:
        """The helper lives."""
        self.words[TableWord.HELPER_BEAT] += 1

    @property
    def helper_beat(self) -> int:
        """Another number every time while the helper lives."""
        beat: int = self.words[TableWord.HELPER_BEAT]
        return beat

    def place(
        self, upstream: int, address: Address, *, weight: int, now: float, drained: bool = False
    ) -> int | None:
        """Give an endpoint a row; None when there is none, or ``ValueError`` for a bad address."""
        index = self._free()
        if index is not None:
            base = [self._sum_all(index, counter) for counter in CUMULATIVE]
            self.heads.place(index, upstream, address, weight, now, base, drained=drained)
        return index

    def _free(self) -> int | None:
        """A row that never had an endpoint, or else the one that has been without it longest.

        Requests that are in progress at a row's former endpoint will count their end there.
        """
        used = len(self.heads.used)
        if used < ENDPOINTS:
            return used
        empty = [
            (removed_at, index)
            for index in range(used)
            if (removed_at := self.heads.removed_at(index)) is not None
            and not self._sum_all(index, Counter.ACTIVE)
        ]
        return min(empty)[1] if empty else None

    # the master

    @property
    def rows_used(self) -> int:
        """Worker rows that have been given out."""
        rows: int = self.words[TableWord.ROWS_USED]
        return rows

    def admit(self, row: int) -> None:
        """Count a worker row in, from now on; before its worker starts."""
        if not 0 <= row < self.layout.cells - 1:
            raise ValueError(f"there is no worker row {row}")
        self.words[TableWord.ROWS_USED] = max(self.rows_used, row + 1)
        # until it says so itself, nobody knows which list it has
        self.words[EDITIONS_AT + row + 1] = ANY_EDITION

    def add_pool(self, pool: int) -> None:
        """Count a pool in, from now on; before any worker has it."""
        self.words[TableWord.POOLS_USED] = max(self.words[TableWord.POOLS_USED], pool + 1)

    def editions(self) -> set[int]:
        """The lists of upstreams that workers go by; ``ANY_EDITION`` is of one that boots."""
        return set(self._cells(EDITIONS_AT)) - {0}

    def depart(self, row: int) -> None:
        """Its worker is dead: what it did stays counted, and nothing is in progress by it.

        Room may have become free, and a worker may wait for it: wake the oldest one.  A part of a
        run of failures goes with the worker.
        """
        words, cell = self.words, row + 1
        for index in self.heads.used:
            for counter in Counter:
                at = self.layout.counters(index, counter)
                if counter in CUMULATIVE:
                    words[at] += words[at + cell]
                words[at + cell] = 0
        for pool in range(words[TableWord.POOLS_USED]):
            for of_pool in PoolCounter:
                at = self.layout.pools(pool, of_pool)
                if of_pool in {PoolCounter.REQUESTS, PoolCounter.RETRIES}:
                    words[at] += words[at + cell]
                words[at + cell] = 0
        words[EDITIONS_AT + cell] = 0

    # everybody

    def active(self, index: int) -> int:
        """Requests in progress at an endpoint."""
        return self._sum_all(index, Counter.ACTIVE)

    def totals(self, index: int) -> Totals:
        """Everything that was counted of an endpoint since it was placed."""
        base = self.heads.base(index)
        requests, failures, retries, stale = (
            self._sum_all(index, counter) - before
            for counter, before in zip(CUMULATIVE, base, strict=True)
        )
        return Totals(self.active(index), requests, failures, retries, stale, self.run(index))

    def run(self, index: int) -> int:
        """Failures in a row, of all workers together."""
        generation = self.words[HEADS_AT + index * HEAD_WORDS + HeadWord.GENERATION]
        runs = self._cells(self.layout.counters(index, Counter.RUN))
        generations = self._cells(self.layout.counters(index, Counter.RUN_GENERATION))
        return sum(run for run, of in zip(runs, generations, strict=True) if of == generation)

    def goes_by(self, row: int, edition: int) -> None:
        """A worker has this list of upstreams."""
        self.words[EDITIONS_AT + row + 1] = edition

    def spent(self, pool: int = 0) -> tuple[int, int]:
        """All attempts and all retries that a pool has had; neither ever goes down."""
        requests, retries = (
            sum(self._cells(self.layout.pools(pool, counter)))
            for counter in (PoolCounter.REQUESTS, PoolCounter.RETRIES)
        )
        return requests, retries

    def waiting(self, pool: int = 0) -> int:
        """Requests that wait for room at a pool."""
        return sum(self._cells(self.layout.pools(pool, PoolCounter.WAITING)))

    def oldest_waiter(self, without: Container[int] = (), pool: int = 0) -> int | None:
        """The row of the worker whose request has waited longest; None when none (else) waits."""
        since = self._cells(self.layout.pools(pool, PoolCounter.WAITING_SINCE))
        waiting = [
            (each, cell) for cell, each in enumerate(since) if each and cell - 1 not in without
        ]
        return min(waiting)[1] - 1 if waiting else None

    def _sum_all(self, index: int, counter: Counter) -> int:
        return sum(self._cells(self.layout.counters(index, counter)))

    def _cells(self, at: int) -> list[int]:
        cells: list[int] = self.words[at : at + self.words[TableWord.ROWS_USED] + 1].tolist()
        return cells
