"""What came of the requests: a histogram of latencies, counts by worker, and the account.

The histogram has buckets of a thousandth of their value, so percentiles have three digits, as those
of the real runs have, and its size doesn't depend on how many requests there were.
"""

from __future__ import annotations

from array import array
from math import exp, log
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Histogram", "Tally"]

_LEAST = 1e-6
_MOST = 1e5
_STEP = 0.001
_LOG_LEAST = log(_LEAST)
_BUCKETS = int((log(_MOST) - _LOG_LEAST) / _STEP) + 2


def _curve() -> Iterator[float]:
    """The percentages of a latency curve: dense near 100, where the tail is."""
    yield from (float(each) for each in range(91))
    rest = 10.0
    while rest > 0.0009:
        yield from (100 - rest * each / 20 for each in range(19, 1, -1))
        rest /= 10
    yield 100.0


CURVE = sorted({round(each, 6) for each in _curve()} | {50.0, 90.0, 99.0, 99.9, 99.99})


@final
class Histogram:
    """Times from 1 µs to a day, to three digits."""

    __slots__ = ("_buckets", "count", "most", "total")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        self.count = 0
        self.total = 0.0
        self.most = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total += seconds
        if seconds > self.most:
            self.most = seconds
        if seconds < _LEAST:
            seconds = _LEAST
        self._buckets[int((log(seconds) - _LOG_LEAST) / _STEP)] += 1

    @property
    def mean(self) -> float:
        """0.0 without a time."""
        return self.total / self.count if self.count else 0.0

    def percentiles(self, percents: list[float] = CURVE) -> list[tuple[float, float]]:
        """(per cent, seconds) by nearest rank, for rising percentages; empty without a time."""
        if not self.count:
            return []
        found, index, seen = [], -1, 0
        for percent in percents:
            rank = max(1.0, percent / 100 * self.count - 1e-9)
            while seen < rank:
                index += 1
                seen += self._buckets[index]
            found.append((percent, min(self.most, self._value(index))))
        return found

    def percentile(self, percent: float) -> float:
        """0.0 without a time."""
        return self.percentiles([percent])[0][1] if self.count else 0.0

    def _value(self, index: int) -> float:
        return exp(_LOG_LEAST + (index + 0.5) * _STEP)


@final
class Tally:
    """The account of one run: every request that was due is answered or failed, once.

    Latencies and counts by worker begin with the request that is due at ``since``.
    """

    __slots__ = (
        "answered",
        "connections",
        "due",
        "ended_at",
        "errors",
        "latencies",
        "queue_area",
        "queue_most",
        "requests",
        "since",
        "waits",
    )

    def __init__(self, workers: int, *, keep: bool) -> None:
        self.due = 0
        self.answered = 0
        self.errors: dict[str, int] = {}
        self.latencies = Histogram()
        self.since = 0.0
        self.ended_at = 0.0
        self.connections = [0] * workers
        self.requests = [0] * workers
        self.queue_area = 0.0
        """Connections in the master times seconds."""
        self.queue_most = 0
        self.waits: array[float] | None = array("d") if keep else None
        """From when each was due until its work began, in the order in which it did."""

    @property
    def open(self) -> int:
        """Requests that have not ended yet."""
        return self.due - self.answered - sum(self.errors.values())

    def answer(self, due: float, now: float, slot: int) -> None:
        self.answered += 1
        if due >= self.since:
            self.latencies.add(now - due)
            self.requests[slot] += 1
            self.ended_at = now

    def fail(self, reason: str) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + 1
