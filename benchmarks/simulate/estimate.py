"""The mean wait in a simulated M/M/k, as surely as so many connections allow.

Waits that follow each other are nearly the same, so the error of their mean is not that of as many
independent numbers: it comes of *batch means*.  It is made smaller by *control variates*: things
that were drawn in the same run, that move with the waits, and whose mean is known.  Where more work
came than should have, the waits are too long by an amount that a regression over the batches tells.

The controls are the gaps, the service times, and M/M/∞: what number of jobs would have been there,
had every one of the same arrivals found a server of its own.  That is Poisson's, and how often it
is k or more is what the waits of a large k hang on.

Source: S. Lavenberg and P. Welch, "A Perspective on the Use of Control Variables to Increase the
Efficiency of Monte Carlo Simulations" (1981).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import heappop, heappush
from statistics import fmean
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Estimate", "estimate"]

BATCHES = 40


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, and the half of its 95 % confidence interval."""

    mean: float
    error: float


def estimate(
    waits: Sequence[float], jobs: Iterator[tuple[float, float]], servers: int, load: float
) -> Estimate:
    """The mean wait, corrected by the controls.

    Args:
        waits: In the order of arrival, in units of the mean service time, as everything here.
        jobs: Gap before it and service time of each.
        servers: The k of M/M/k.
        load: Of each server.
    """
    size = len(waits) // BATCHES
    infinite = _Infinite(servers, servers * load)
    means, controls = [], []
    for batch in range(BATCHES):
        gaps = services = 0.0
        infinite.begin()
        for _ in range(size):
            gap, service = next(jobs)
            gaps += gap
            services += service
            infinite.arrive(gap, service)
        means.append(fmean(waits[batch * size : (batch + 1) * size]))
        controls.append(
            [gaps / size * servers * load - 1, services / size - 1, *infinite.surprise(size)]
        )
    return _regress(means, controls)


class _Infinite:
    """M/M/∞, driven by the same jobs: how many of its servers are busy when somebody comes."""

    def __init__(self, servers: int, offered: float) -> None:
        self._servers = servers
        self._ends: list[float] = []
        self._now = 0.0
        probability = math.exp(-offered)
        self._often = self._many = 0.0
        for number in range(1, 10 * servers + 100):
            probability *= offered / number
            if number >= servers:
                self._often += probability
                self._many += (number - servers + 1) * probability
        self.begin()

    def begin(self) -> None:
        self._seen = self._sum = 0

    def arrive(self, gap: float, service: float) -> None:
        self._now += gap
        ends = self._ends
        while ends and ends[0] <= self._now:
            heappop(ends)
        if len(ends) >= self._servers:
            self._seen += 1
            self._sum += len(ends) - self._servers + 1
        heappush(ends, self._now + service)

    def surprise(self, size: int) -> tuple[float, float]:
        """How much more often, and by how many, than expected all of k would have been busy."""
        return self._seen / size - self._often, self._sum / size - self._many


def _regress(means: list[float], controls: list[list[float]]) -> Estimate:
    """The mean of the means where all controls are nought."""
    count, width = len(means), len(controls[0])
    middle = fmean(means)
    centre = [fmean(row[i] for row in controls) for i in range(width)]
    moved = [[row[i] - centre[i] for i in range(width)] for row in controls]
    matrix = [[sum(row[i] * row[j] for row in moved) for j in range(width)] for i in range(width)]
    right = [
        sum(row[i] * (mean - middle) for row, mean in zip(moved, means, strict=True))
        for i in range(width)
    ]
    slopes = _solve(matrix, right)
    rest = [
        mean - middle - sum(slope * each for slope, each in zip(slopes, row, strict=True))
        for row, mean in zip(moved, means, strict=True)
    ]
    spread = math.sqrt(sum(each * each for each in rest) / (count - 1 - width))
    mean = middle - sum(slope * each for slope, each in zip(slopes, centre, strict=True))
    return Estimate(mean, 2.03 * spread / math.sqrt(count))  # Student's t of 35 degrees


def _solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Gauss's elimination."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for i in range(size):
        column = [abs(row[i]) for row in rows[i:]]
        best = i + column.index(max(column))
        rows[i], rows[best] = rows[best], rows[i]
        for r in range(size):
            if r != i:
                factor = rows[r][i] / rows[i][i]
                rows[r] = [a - factor * b for a, b in zip(rows[r], rows[i], strict=True)]
    return [rows[i][size] / rows[i][i] for i in range(size)]
