"""Where every 64-bit word of the endpoints' table is.

    table head      64 words
    endpoint heads  ENDPOINTS × 64 words
    editions        one array of cells: whose list each worker has
    pool cells      per pool, one array of cells per ``PoolCounter``
    counter cells   per endpoint, one array of cells per ``Counter``

An array holds a counter of every worker side by side, so that a sum over the workers is a sum over
one slice; each worker is the single writer of its cell, so that counting needs no lock.  Cell 0 is
the departed's: what dead workers had counted, written by the master.  Worker row r is cell r + 1.

Nearly all of the 67 MB are never touched, and an untouched page of a memfd costs nothing: 8
endpoints and 8 workers use 256 KiB.
"""

from __future__ import annotations

from enum import IntEnum
from typing import final

__all__ = ["ENDPOINTS", "POOLS", "Counter", "HeadWord", "Layout", "PoolCounter", "TableWord"]

ENDPOINTS = 256
"""Addresses that can be stood in front of at a time."""
POOLS = 64
"""Pools that they can be in."""


class TableWord(IntEnum):
    """The table's head."""

    VERSION = 0  # a stamp: differs after every change of a word that choosers look at
    ROWS_USED = 1  # worker rows that have ever been given out; grows only
    ENDPOINTS_USED = 2  # endpoint rows that have; grows only
    HELPER_BEAT = 3  # counts up while the helper lives
    CAPACITY = 4  # worker rows that there is room for; never changes
    POOLS_USED = 5  # pools that there have ever been; grows only


class HeadWord(IntEnum):
    """An endpoint's head; who writes a word is beside it, times are monotonic ns."""

    USED = 0  # helper: a stamp of when it was placed; 0 is a row without endpoint
    REMOVED_AT = 1  # helper
    UPSTREAM = 2  # helper: the number of its upstream, which never means another one
    FAMILY = 3  # helper, and the next four
    PORT = 4
    SCOPE = 5  # an IPv6 link-local address's interface
    ADDRESS_HIGH = 6
    ADDRESS_LOW = 7
    WEIGHT = 8  # operator
    DRAINED = 9  # operator
    DOWN = 10  # helper
    PROBED_AT = 11  # helper
    SINCE = 12  # helper, operator: when it last became usable by what these two say
    EJECTED_UNTIL = 13  # workers, and the next four
    EJECTED_AT = 14
    EJECTIONS = 15
    GENERATION = 16  # a stamp: failures in a row are those since it was written
    TROUBLE = 17  # there may be failures in a row
    AGAINST = 18  # helper: probes in a row that contradict DOWN
    BASE = 24  # helper: the sums of ``CUMULATIVE`` when it was placed, in that order


class Counter(IntEnum):
    """A worker's counters of one endpoint."""

    ACTIVE = 0  # requests in progress
    REQUESTS = 1  # begun
    FAILURES = 2
    RETRIES = 3  # attempts that repeated another one
    STALE = 4  # reused connections that had ended
    RUN = 5  # failures in a row, if RUN_GENERATION is the endpoint's GENERATION
    RUN_GENERATION = 6


CUMULATIVE = (Counter.REQUESTS, Counter.FAILURES, Counter.RETRIES, Counter.STALE)


class PoolCounter(IntEnum):
    """A worker's counters of a pool."""

    WAITING = 0  # requests that no endpoint has room for
    WAITING_SINCE = 1  # monotonic ns of the oldest of them; 0: none
    REQUESTS = 2  # begun, at whichever endpoint
    RETRIES = 3


TABLE_WORDS = 64
HEAD_WORDS = 64
HEADS_AT = TABLE_WORDS
EDITIONS_AT = HEADS_AT + ENDPOINTS * HEAD_WORDS


@final
class Layout:
    """The places that depend on how many workers there is room for."""

    __slots__ = ("cells", "counters_at", "pools_at", "size", "step")

    def __init__(self, rows: int) -> None:
        self.cells = rows + 1
        self.pools_at = EDITIONS_AT + self.cells
        self.counters_at = self.pools_at + POOLS * len(PoolCounter) * self.cells
        self.step = len(Counter) * self.cells
        """From an endpoint's counters to the next one's."""
        self.size = 8 * (self.counters_at + ENDPOINTS * self.step)
        """Bytes in all."""

    def counters(self, endpoint: int, counter: Counter) -> int:
        """The first cell of a counter."""
        return self.counters_at + endpoint * self.step + counter * self.cells

    def pools(self, pool: int, counter: PoolCounter) -> int:
        """The first cell of a pool's counter."""
        return self.pools_at + (pool * len(PoolCounter) + counter) * self.cells
