"""What the samples of one cell come to: medians with their bounds.

A sample without a single answer has latencies that nobody knows the end of: they count as infinite,
so that a server which answers nothing isn't the fastest.  A cell of which more than one request in
a hundred went unanswered has a p99 of the others only; ``unanswered`` says so, and it is never the
best of anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from statistics import median
from typing import TYPE_CHECKING, final

from benchmarks.compare import jain
from benchmarks.study.statistics import interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.study.record import Cell, Sample, Study
    from benchmarks.study.statistics import Interval

__all__ = ["PERCENTS", "Figures", "curve", "figures", "summarise"]

PERCENTS = (50.0, 90.0, 99.0, 99.9, 100.0)
"""The latencies that tables have; the last one is the longest of all."""

UNANSWERED = 0.01
"""The share of requests without an answer that makes a p99 mean something else."""


@final
@dataclass(frozen=True, slots=True)
class Figures:
    """One cell, boiled down.  Times in seconds, rates per second; None: nobody measured it."""

    subject: str
    workload: str
    load: float
    count: int
    throughput: Interval | None
    latency: dict[float, Interval | None]
    """By ``PERCENTS``."""
    connections: tuple[float, ...]
    """By worker, most first: the mean of the samples, rank by rank."""
    requests: tuple[float, ...]
    """Of the same workers, in the same order."""
    jain: Interval | None
    uneven: Interval | None
    """The fullest worker's connections over the mean."""
    recalls: Interval | None
    queue_mean: Interval | None
    queue_max: Interval | None
    master_cpu: Interval | None
    cpu: Interval | None
    errors: dict[str, int]
    """The sum over all samples, by reason."""
    unanswered: float
    """Share of the requests that had no answer."""
    saturated: str
    missing: str

    @property
    def p99(self) -> Interval | None:
        return self.latency[99.0]

    @property
    def answers_enough(self) -> bool:
        return self.unanswered <= UNANSWERED


def figures(study: Study) -> list[Figures]:
    """Every cell of a study, in its order."""
    return [summarise(cell) for cell in study.cells]


def summarise(cell: Cell) -> Figures:
    """One cell; without samples all is None and ``missing`` has a reason."""
    samples = cell.samples
    ranked = [_ranked(sample) for sample in samples]
    return Figures(
        cell.subject,
        cell.workload,
        cell.load,
        len(samples),
        interval([sample.throughput for sample in samples]),
        {at: interval([latency(sample, at) for sample in samples]) for at in PERCENTS},
        _mean_by_rank([connections for connections, _ in ranked]),
        _mean_by_rank([requests for _, requests in ranked]),
        _of(samples, lambda sample: jain(sample.connections) if any(sample.connections) else None),
        _of(samples, lambda sample: _uneven(sample.connections)),
        _of(samples, lambda sample: sample.recalls),
        _of(samples, lambda sample: sample.queue_mean),
        _of(samples, lambda sample: sample.queue_max),
        _of(samples, lambda sample: sample.master_cpu),
        _of(samples, lambda sample: sample.cpu),
        _errors(samples),
        _unanswered(samples),
        next((sample.saturated for sample in samples if sample.saturated), ""),
        cell.missing or ("" if samples else "no sample"),
    )


def latency(sample: Sample, percent: float) -> float:
    """Seconds; infinite without an answer."""
    return sample.percentile(percent) if sample.answered else inf


def curve(cell: Cell) -> list[tuple[float, float]]:
    """(1/(1 − p), seconds): medians over the samples, as far as there were answers to tell.

    A percentile with less than one answer beyond it is the longest of all, whatever its name.
    """
    samples = [sample for sample in cell.samples if sample.answered]
    if not samples:
        return []
    answered = min(sample.answered for sample in samples)
    percents = sorted({percent for sample in samples for percent, _ in sample.percentiles})
    points: list[tuple[float, float]] = []
    for percent in percents:
        # A hair more, since 1/(1 − 0.999) is a little above 1,000 in binary.
        if percent >= 100 or 100 / (100 - percent) > answered * (1 + 1e-9):
            break
        middle = median(sample.percentile(percent) for sample in samples)
        if middle > 0:
            points.append((100 / (100 - percent), middle))
    return points


def _of(samples: list[Sample], get: Callable[[Sample], float | None]) -> Interval | None:
    found = (get(sample) for sample in samples)
    return interval([value for value in found if value is not None])


def _ranked(sample: Sample) -> tuple[list[int], list[int]]:
    """Connections and requests, a worker's two at one place, most connections first."""
    workers = max(len(sample.connections), len(sample.requests))
    both = (row + [0] * (workers - len(row)) for row in (sample.connections, sample.requests))
    pairs = sorted(zip(*both, strict=True), reverse=True)
    return [connections for connections, _ in pairs], [requests for _, requests in pairs]


def _mean_by_rank(counts: list[list[int]]) -> tuple[float, ...]:
    rows = [row for row in counts if row]
    widest = max(map(len, rows), default=0)
    padded = [row + [0] * (widest - len(row)) for row in rows]
    return tuple(sum(rank) / len(rows) for rank in zip(*padded, strict=True))


def _uneven(counts: list[int]) -> float | None:
    return max(counts) * len(counts) / sum(counts) if any(counts) else None


def _errors(samples: list[Sample]) -> dict[str, int]:
    total: dict[str, int] = {}
    for sample in samples:
        for reason, number in sample.errors.items():
            total[reason] = total.get(reason, 0) + number
    return {reason: number for reason, number in total.items() if number}


def _unanswered(samples: list[Sample]) -> float:
    failed = sum(sum(sample.errors.values()) for sample in samples)
    due = failed + sum(sample.answered for sample in samples)
    return failed / due if due else float(bool(samples))
