"""The middle of a few samples, and how sure it is.

Theory: a median is between the samples of rank j and n − j + 1 unless fewer than j of them fell on
one side of it, and how many do is binomial with probability ½, whatever the samples' distribution
(J.-Y. Le Boudec, "Performance Evaluation of Computer and Communication Systems" (2010), theorem
2.1).  So the interval is a pair of samples and nothing is assumed to be normal, which latencies
aren't.  Below six samples no pair reaches 95 %, and the interval is all that was seen, from the
least to the most: two samples that agree by chance look surer than they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, inf, isinf
from statistics import median
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Interval", "chance_apart", "coverage", "interval", "ratio"]

CONFIDENCE = 0.95


@final
@dataclass(frozen=True, slots=True)
class Interval:
    """A median between two bounds that are in its unit; of one sample all three are the same."""

    middle: float
    low: float
    high: float
    count: int
    """How many samples there were."""

    @property
    def spread(self) -> float | None:
        """The longer arm as a share of the middle; None where one sample knows of none."""
        if self.count < 2 or not self.middle or isinf(self.high):
            return None
        return max(self.high - self.middle, self.middle - self.low) / self.middle

    def apart(self, other: Interval) -> bool:
        """Whether the two surely differ: both know their bounds, and these don't meet."""
        if self.count < 2 or other.count < 2:
            return False
        return self.high < other.low or other.high < self.low


def interval(samples: Sequence[float]) -> Interval | None:
    """The median of the samples and its bounds; None without a sample.

    ``inf`` is a sample as any other: a latency of which nothing is known but that it never ended.
    """
    if not samples:
        return None
    ordered = sorted(samples)
    rank = _rank(len(ordered))
    return Interval(median(ordered), ordered[rank - 1], ordered[-rank], len(ordered))


def coverage(count: int, rank: int) -> float:
    """How surely the median of what is sampled is within samples ``rank`` and its mirror."""
    outside = sum(comb(count, below) for below in range(rank))
    return max(0.0, 1 - outside / (1 << (count - 1)))


def chance_apart(first: int, second: int) -> float:
    """How likely samples of one and the same thing give bounds that don't meet.

    Where the bounds are the least and the most: of all orders in which the samples can fall, two
    have all of one before all of the other.  For larger samples, whose bounds are inner ones, this
    is too low, but it is below 1 % then either way.
    """
    return min(1.0, 2 / comb(first + second, first))


def _rank(count: int) -> int:
    """The innermost rank that is sure enough; 1, the outermost, where none is."""
    rank = 1
    while rank + 1 <= (count + 1) // 2 and coverage(count, rank + 1) >= CONFIDENCE:
        rank += 1
    return rank


def ratio(new: Interval | None, old: Interval | None) -> Interval | None:
    """``new`` over ``old`` and the widest that it can be; None where it means nothing."""
    if new is None or old is None or not old.middle or isinf(new.middle) or isinf(old.middle):
        return None
    return Interval(
        new.middle / old.middle,
        new.low / old.high,
        new.high / old.low if old.low else inf,
        min(new.count, old.count),
    )
