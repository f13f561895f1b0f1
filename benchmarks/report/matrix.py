"""The cells of one load against each other: who is best at what, and by how much the others aren't.

A column is a workload, and only what stands in one column is compared: workloads differ in what a
request takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, final

from benchmarks.report.figures import figures
from benchmarks.study.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.report.figures import Figures
    from benchmarks.study.record import Study
    from benchmarks.study.statistics import Interval

__all__ = ["Entry", "Matrix", "Rank", "Table", "usual_load"]

BAD = 2.0
WORSE = 10.0

_USUAL = 0.7
"""The load to show where only one can be: busy, and not yet a queue everywhere."""


class Rank(Enum):
    """How an entry stands in its column; the value is its mark in plain text."""

    BEST = "★"
    AS_GOOD = "≈"  # not surely worse than the best
    NEAR = ""
    BAD = "!"  # at least ``BAD`` times the best
    WORSE = "!!"  # at least ``WORSE`` times the best
    FAILED = "✗"  # too much of it unanswered
    NONE = "–"


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """One cell in its column."""

    figures: Figures | None
    """None: the study has no such cell."""
    rank: Rank
    times: float | None = None
    """Its p99 over the best one."""

    @property
    def p99(self) -> Interval | None:
        found = self.figures.p99 if self.figures is not None else None
        return None if found is None or self.rank is Rank.NONE else found


@final
@dataclass(frozen=True, slots=True)
class Matrix:
    """All cells of one load: ``entries`` by (subject, workload), every pair is there."""

    load: float
    subjects: tuple[str, ...]
    workloads: tuple[str, ...]
    entries: dict[tuple[str, str], Entry]


@final
class Table:
    """A study by load, subject and workload; the order is that of the workloads' table, then the
    study's own."""

    def __init__(self, study: Study) -> None:
        cells = figures(study)
        self.loads = tuple(sorted({cell.load for cell in cells}))
        self.subjects = tuple(dict.fromkeys(cell.subject for cell in cells))
        self.workloads = _ordered(cell.workload for cell in cells)
        self._cells = {(cell.subject, cell.workload, cell.load): cell for cell in cells}

    def get(self, subject: str, workload: str, load: float) -> Figures | None:
        return self._cells.get((subject, workload, load))

    def of_workload(self, workload: str) -> dict[float, list[Figures]]:
        """Its cells by load, in the order of the subjects; loads without any are left out."""
        rows = {
            load: [
                found
                for subject in self.subjects
                if (found := self.get(subject, workload, load)) is not None
            ]
            for load in self.loads
        }
        return {load: row for load, row in rows.items() if row}

    def matrix(self, load: float) -> Matrix:
        entries: dict[tuple[str, str], Entry] = {}
        workloads = [
            workload
            for workload in self.workloads
            if any(self.get(subject, workload, load) is not None for subject in self.subjects)
        ]
        for workload in workloads:
            column = {subject: self.get(subject, workload, load) for subject in self.subjects}
            for subject, entry in _ranked(column).items():
                entries[subject, workload] = entry
        return Matrix(load, self.subjects, tuple(workloads), entries)


def usual_load(loads: Iterable[float]) -> float | None:
    """The one to show where only one can be; None of none."""
    return min(loads, key=lambda load: abs(load - _USUAL), default=None)


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    known = list(WORKLOADS)
    found = list(dict.fromkeys(names))
    return tuple(sorted(found, key=lambda n: known.index(n) if n in known else len(known)))


def _ranked(column: dict[str, Figures | None]) -> dict[str, Entry]:
    answering = [
        cell
        for cell in column.values()
        if cell is not None and _known(cell) and cell.answers_enough
    ]
    # What measured the generator is no yardstick, unless there is nothing else.
    sound = [cell for cell in answering if not cell.saturated] or answering
    fair = [cell.p99 for cell in sound]
    best = min((p99 for p99 in fair if p99 is not None), key=lambda p99: p99.middle, default=None)
    return {subject: _entry(cell, best) for subject, cell in column.items()}


def _known(cell: Figures) -> bool:
    return cell.p99 is not None and 0 < cell.p99.middle < float("inf")


def _entry(cell: Figures | None, best: Interval | None) -> Entry:
    if cell is None or cell.p99 is None:
        return Entry(cell, Rank.NONE)
    if not _known(cell) or not cell.answers_enough:
        return Entry(cell, Rank.FAILED)
    if best is None:
        return Entry(cell, Rank.NEAR)
    times = cell.p99.middle / best.middle
    return Entry(cell, _rank(cell.p99, best, times), times)


def _rank(p99: Interval, best: Interval, times: float) -> Rank:
    if p99.middle == best.middle:
        return Rank.BEST
    if min(p99.count, best.count) > 1 and not p99.apart(best):
        return Rank.AS_GOOD
    if times >= WORSE:
        return Rank.WORSE
    return Rank.BAD if times >= BAD else Rank.NEAR
