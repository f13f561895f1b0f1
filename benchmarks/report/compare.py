"""Two studies, cell by cell: the second's figures over the first's.

Whether a difference is one: both medians have bounds (``benchmarks.study.statistics``), and where
the bounds don't meet, the two are said to differ.  With six samples or more that is stricter than
the usual test at 95 %, which suits a table of a hundred ratios, of which five would be
"significant" by chance.  With fewer the bounds are all that was seen, and chance keeps them apart
more often, with three samples in one case of ten: ``Comparison.doubt`` says so.  One sample has no
bounds and proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, final

from benchmarks.report.matrix import Table
from benchmarks.study.statistics import Interval, chance_apart, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.report.figures import Figures
    from benchmarks.study.record import Study

__all__ = ["MEASURES", "Change", "Comparison", "Measure", "Verdict", "compare"]


_WORTH_A_WORD = 0.02


class Verdict(Enum):
    """What a ratio says; the value is its mark in plain text."""

    BETTER = "+"
    WORSE = "−"
    SAME = "≈"  # the bounds meet
    UNKNOWN = "?"  # one sample: no bounds
    NONE = "–"


@final
@dataclass(frozen=True, slots=True)
class Measure:
    """A figure that two studies are compared by."""

    name: str
    get: Callable[[Figures], Interval | None]
    more_is_better: bool = False


MEASURES = (
    Measure("p50", lambda cell: cell.latency[50.0]),
    Measure("p99", lambda cell: cell.p99),
    Measure("throughput", lambda cell: cell.throughput, more_is_better=True),
)


@final
@dataclass(frozen=True, slots=True)
class Change:
    """One figure of one cell in both studies."""

    old: Interval | None
    new: Interval | None
    ratio: Interval | None
    verdict: Verdict


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """What both studies have, by (subject, workload, load, measure's name)."""

    subjects: tuple[str, ...]
    workloads: tuple[str, ...]
    loads: tuple[float, ...]
    changes: dict[tuple[str, str, float, str], Change]
    left_out: int
    """Cells that only one of the two has."""
    doubt: str
    """How often chance alone gives a sign, where that is worth a word."""


def compare(old: Study, new: Study) -> Comparison:
    """Every cell that both have; subjects, workloads and loads are those of the common cells."""
    first, second = Table(old), Table(new)
    mine = {(cell.subject, cell.workload, cell.load) for cell in old.cells}
    theirs = {(cell.subject, cell.workload, cell.load) for cell in new.cells}
    common = mine & theirs
    changes: dict[tuple[str, str, float, str], Change] = {}
    for key in common:
        before, after = first.get(*key), second.get(*key)
        if before is not None and after is not None:
            for measure in MEASURES:
                changes[(*key, measure.name)] = _change(measure, before, after)
    return Comparison(
        tuple(name for name in first.subjects if any(key[0] == name for key in common)),
        tuple(name for name in first.workloads if any(key[1] == name for key in common)),
        tuple(load for load in first.loads if any(key[2] == load for key in common)),
        changes,
        len(mine ^ theirs),
        _doubt(changes.values()),
    )


def _doubt(changes: Iterable[Change]) -> str:
    pairs = {
        (change.old.count, change.new.count)
        for change in changes
        if change.verdict in {Verdict.BETTER, Verdict.WORSE} and change.old and change.new
    }
    worst = max(pairs, key=lambda pair: chance_apart(*pair), default=None)
    if worst is None or chance_apart(*worst) < _WORTH_A_WORD:
        return ""
    return (
        f"Of {worst[0]} and {worst[1]} samples, the bounds miss each other by chance alone in "
        f"{chance_apart(*worst):.0%} of the cells: more rounds make the signs surer."
    )


def _change(measure: Measure, before: Figures, after: Figures) -> Change:
    old, new = measure.get(before), measure.get(after)
    times = ratio(new, old)
    return Change(old, new, times, _verdict(measure, old, new, times))


def _verdict(
    measure: Measure, old: Interval | None, new: Interval | None, times: Interval | None
) -> Verdict:
    if old is None or new is None or times is None:
        return Verdict.NONE
    if times.count < 2:
        return Verdict.UNKNOWN
    if not new.apart(old):
        return Verdict.SAME
    return Verdict.BETTER if (times.middle > 1) is measure.more_is_better else Verdict.WORSE
