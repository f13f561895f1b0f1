"""The stats slots: counters in shared memory that a worker writes and the master reads.

One memfd holds a table of rows of 64-bit words; each worker is the single writer of its row, so an
increment needs no lock, and an aligned word is written in one piece.  Reading costs the worker
nothing, not even a message: policies, ``status`` and metrics look whenever they like.

A row is given out again when its worker is dead and its numbers have been folded into the slot's.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from enum import IntEnum
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BUCKETS", "ROWS", "SlotTable", "SlotWriter", "Word"]

BUCKETS = 32
"""Latency buckets: number n counts requests of less than 2**n µs (and at least 2**(n-1))."""


class Word(IntEnum):
    """What the words of a row mean; all count up, but for ``ACTIVE``."""

    HEARTBEAT = 0
    ACTIVE = 1  # connections being served now
    ACCEPTED = 2  # connections taken
    REQUESTS = 3
    CLASS_1XX = 4
    CLASS_2XX = 5
    CLASS_3XX = 6
    CLASS_4XX = 7
    CLASS_5XX = 8
    BYTES_IN = 9
    BYTES_OUT = 10
    LATENCY = 16  # the first of BUCKETS


ROW_WORDS = 64
ROW_BYTES = 8 * ROW_WORDS
ROWS = 4096
"""Rows in the table: slots, and as many again while a roll replaces them.  Untouched pages of a
memfd cost nothing."""


@final
class SlotTable:
    """The table; owns the memfd and its mapping."""

    def __init__(self, fd: int, *, rows: int = ROWS) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, rows * ROW_BYTES)
        self._words = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls, *, rows: int = ROWS) -> SlotTable:
        """A new table, all zero."""
        fd = os.memfd_create("balancer-slots", os.MFD_CLOEXEC)
        os.ftruncate(fd, rows * ROW_BYTES)
        return cls(fd, rows=rows)

    def row(self, index: int) -> memoryview:
        """The words of one row, by ``Word``."""
        return self._words[index * ROW_WORDS : (index + 1) * ROW_WORDS]

    def clear(self, index: int) -> None:
        """Make a row ready for its next worker."""
        self._map[index * ROW_BYTES : (index + 1) * ROW_BYTES] = bytes(ROW_BYTES)

    def close(self) -> None:
        """Unmap and close; rows given out must be gone."""
        self._words.release()
        self._map.close()
        os.close(self.fd)


@final
class SlotWriter:
    """A worker's own row."""

    __slots__ = ("_words",)

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def beat(self) -> None:
        """The event loop runs."""
        self._words[Word.HEARTBEAT] += 1

    def opened(self) -> int:
        """A connection was taken; returns how many there are now."""
        words = self._words
        words[_ACCEPTED] += 1
        active: int = words[_ACTIVE] + 1
        words[_ACTIVE] = active
        return active

    def closed(self) -> int:
        """A connection is done; returns how many there are now."""
        words = self._words
        active: int = words[_ACTIVE] - 1
        words[_ACTIVE] = active
        return active

    patience = 64  # http1.tally.BATCH

    def requests_done(self, done: Sequence[tuple[int, float, int, int]]) -> None:
        """Responses have been sent, or given up on; many at once cost a tenth each.

        Args:
            done: status (0: none was sent), seconds, bytes in and bytes out of each; at least one.
        """
        if len(done) == 1:
            self._add(*done[0])
        else:
            self._add_all(done)

    def _add(self, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        words = self._words
        words[_REQUESTS] += 1
        if status:  # 0: given up before there was one
            words[_CLASS + status // 100] += 1
        words[_BYTES_IN] += bytes_in
        words[_BYTES_OUT] += bytes_out
        words[_LATENCY + min(int(seconds * 1e6).bit_length(), _LAST)] += 1

    def _add_all(self, done: Sequence[tuple[int, float, int, int]]) -> None:
        words = self._words
        statuses, seconds, bytes_in, bytes_out = zip(*done, strict=True)
        words[_REQUESTS] += len(done)
        for status in set(statuses):
            if status:
                words[_CLASS + status // 100] += statuses.count(status)
        words[_BYTES_IN] += sum(bytes_in)
        words[_BYTES_OUT] += sum(bytes_out)
        micros = sorted([each * 1e6 for each in seconds])
        start, end = 0, len(micros)
        while start < end:  # one bucket after the other
            bucket = min(int(micros[start]).bit_length(), _LAST)
            after = bisect_left(micros, 1 << bucket, start) if bucket < _LAST else end
            words[_LATENCY + bucket] += after - start
            start = after


# plain ints: indexing by an enum member costs a call of __index__ on every use
_ACTIVE = int(Word.ACTIVE)
_ACCEPTED = int(Word.ACCEPTED)
_REQUESTS = int(Word.REQUESTS)
_CLASS = int(Word.CLASS_1XX) - 1
_BYTES_IN = int(Word.BYTES_IN)
_BYTES_OUT = int(Word.BYTES_OUT)
_LATENCY = int(Word.LATENCY)
_LAST = BUCKETS - 1
