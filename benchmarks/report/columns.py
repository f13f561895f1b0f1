"""What a table of details has: a row here is a column there, in the terminal and on the page."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, final

from benchmarks.report import units

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.report.figures import Figures
    from benchmarks.study.statistics import Interval

__all__ = ["LATENCIES", "SPREAD", "Column", "bars", "in_use"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDEST = 8


@final
@dataclass(frozen=True, slots=True)
class Column:
    """A title, what it means, and what a cell has for it."""

    title: str
    what: str
    text: Callable[[Figures], str]


def _middle(found: Interval | None) -> float | None:
    return found.middle if found is not None else None


def _latency(percent: float) -> Callable[[Figures], str]:
    return lambda cell: units.duration(_middle(cell.latency[percent]))


def _queue(cell: Figures) -> str:
    if cell.queue_mean is None and cell.queue_max is None:
        return units.NOTHING
    most = units.count(_middle(cell.queue_max))
    return f"{units.count(_middle(cell.queue_mean), 1)} / {most}"


def _errors(cell: Figures) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in cell.errors.items()) or "0"


def _ratio(found: Interval | None) -> str:
    return f"{found.middle:.2f}" if found is not None else units.NOTHING


LATENCIES: tuple[Column, ...] = (
    Column("req/s", "requests answered a second", lambda c: units.rate(_middle(c.throughput))),
    Column("p50", "half of the answers came within", _latency(50.0)),
    Column("p90", "nine in ten answers came within", _latency(90.0)),
    Column("p99", "99 in a hundred answers came within", _latency(99.0)),
    Column("p99.9", "999 in a thousand answers came within", _latency(99.9)),
    Column("max", "the longest of all", _latency(100.0)),
    Column("errors", "requests without an answer, of all samples", _errors),
)

SPREAD: tuple[Column, ...] = (
    Column("connections", "by worker, most first; full height is the fullest", lambda c: bars(c)),
    Column(
        "Jain", "1: all workers have the same; 1/n: one has everything", lambda c: _ratio(c.jain)
    ),
    Column("max÷mean", "the fullest worker against the average one", lambda c: _ratio(c.uneven)),
    Column(
        "recalls",
        "connections taken back from blocked workers",
        lambda c: units.count(_middle(c.recalls)),
    ),
    Column("queue", "connections waiting in the master: mean / most", _queue),
    Column(
        "master/conn",
        "CPU of the process that hands over, per connection",
        lambda c: units.duration(_middle(c.master_cpu)),
    ),
    Column(
        "CPU/req",
        "CPU of all processes of the server, per request",
        lambda c: units.duration(_middle(c.cpu)),
    ),
)


def in_use(columns: Sequence[Column], cells: Sequence[Figures]) -> list[Column]:
    """The columns that any of the cells has a figure for."""
    return [
        column
        for column in columns
        if any(column.text(cell) not in {units.NOTHING, ""} for cell in cells)
    ]


def bars(cell: Figures, widest: int = _WIDEST) -> str:
    """Connections by worker as blocks, `█▅▃▁`; a worker without any is a dot.

    More than ``widest`` workers are as many groups of neighbouring ranks, each at its mean.
    """
    counts = cell.connections if any(cell.connections) else cell.requests
    if not any(counts):
        return units.NOTHING
    heights = [sum(group) / len(group) for group in groups(counts, widest)]
    top = max(heights)
    return "".join(_block(height / top) for height in heights)


def _block(share: float) -> str:
    return _BLOCKS[min(len(_BLOCKS) - 1, int(share * len(_BLOCKS)))] if share > 0 else "·"


def groups(counts: Sequence[float], most: int) -> list[Sequence[float]]:
    """``counts`` cut into at most ``most`` runs, as even in length as they can be."""
    parts = min(most, len(counts))
    edges = [len(counts) * part // parts for part in range(parts + 1)] if parts else [0]
    return [counts[start:end] for start, end in pairwise(edges)]
