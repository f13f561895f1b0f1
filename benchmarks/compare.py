"""What a benchmark's samples are compared with: other peers, and floors that were promised.

Ratios are paired: both figures of one come from the same round, seconds apart, so that what the
machine does to one it does to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.runner import Results, Sample


@dataclass(frozen=True, slots=True)
class Floor:
    """The least ratio `subject ÷ other` of one figure; the `goal` (0: none) is hoped for.

    For figures of which more is better.
    """

    key: str
    subject: str
    other: str
    floor: float
    goal: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rounds say of one floor; no ratios when one of the two was not measured."""

    floor: Floor
    ratios: tuple[float, ...]

    @property
    def words(self) -> str:
        """`met`, `missed`, … by the median."""
        if not self.ratios:
            return "not measured"
        found, floor = median(self.ratios), self.floor
        if found < floor.floor:
            return "missed"
        if floor.goal:
            return "goal met" if found >= floor.goal else "floor met, goal missed"
        return "met"


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that a figure of `subject` may be, in the unit that is stored."""

    key: str
    subject: str
    most: float


@dataclass(frozen=True, slots=True)
class Added:
    """Figures from which those of the `baseline` peer are taken off, round by round.

    What a way over somebody else costs is the difference to the same way without: for latencies.
    """

    baseline: str
    keys: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True)
class View:
    """How the results of a benchmark are looked at.

    `references` are the peers to which every row has a ratio of its own; `ratios` says whether the
    first peer is set against every other one. `shares` are the keys that together are one
    distribution over the workers. `what` says what one measurement is, where it is not the duration
    that says it.
    """

    references: tuple[str, ...] = ()
    ratios: bool = True
    floors: tuple[Floor, ...] = ()
    shares: tuple[str, ...] = ()
    what: str = ""
    ceilings: tuple[Ceiling, ...] = ()
    added: Added | None = None


def paired_ratios(
    subject: Sequence[Sample | None], other: Sequence[Sample | None], key: str
) -> list[float]:
    """subject ÷ other for every round in which both have the figure."""
    return [
        ours[key] / theirs[key]
        for ours, theirs in zip(subject, other, strict=False)
        if ours is not None and theirs is not None and ours.get(key) and theirs.get(key)
    ]


def ratios(results: Results, subject: str, other: str, key: str) -> list[float]:
    """The same by the peers' names; none when one of them has no samples."""
    samples = results.samples
    return paired_ratios(samples.get(subject, ()), samples.get(other, ()), key)


def differences(results: Results, subject: str, baseline: str, key: str) -> list[float]:
    """subject − baseline for every round in which both have the figure."""
    pairs = zip(results.samples.get(subject, ()), results.samples.get(baseline, ()), strict=False)
    return [
        one[key] - base[key]
        for one, base in pairs
        if one is not None and base is not None and key in one and key in base
    ]


def judge(results: Results, floors: Sequence[Floor]) -> list[Verdict]:
    return [
        Verdict(floor, tuple(ratios(results, floor.subject, floor.other, floor.key)))
        for floor in floors
    ]


def jain(counts: Sequence[float]) -> float:
    """Jain's index: 1 when all have the same, 1/n when one of n has everything; 1 of nothing.

    Source: R. Jain, D. Chiu, W. Hawe, "A Quantitative Measure of Fairness", DEC-TR-301 (1984).
    """
    squares = sum(count * count for count in counts)
    return sum(counts) ** 2 / (len(counts) * squares) if squares else 1.0
