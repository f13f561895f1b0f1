"""A study, its picks and the rows of theory in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.simulate.reality import Pair
    from benchmarks.simulate.validate import Row
    from benchmarks.study.record import Cell, Sample

__all__ = ["cells", "pairs", "picks", "rows"]

_PERCENTS = (50.0, 90.0, 99.0, 99.9, 100.0)
_FIGURES = ("req/s", "p50 ms", "p90", "p99", "p99.9", "max", "recalls", "queue", "max÷mean")


def cells(workload: str, some: Iterable[Cell]) -> Table:
    """The cells of one workload."""
    found = [(cell.subject, sample) for cell in some for sample in cell.samples]
    failed = any(sample.errors for _, sample in found)
    table = _table(workload, "policy", _FIGURES, *(["errors"] if failed else ()))
    for subject, sample in found:
        errors = ", ".join(f"{count:,} × {reason}" for reason, count in sample.errors.items())
        table.add_row(subject, *_figures(sample), *([errors] if failed else ()))
    return table


def picks(found: Mapping[str, Sequence[tuple[int, float]]]) -> Table:
    """Cost of a pick by policy and number of members."""
    sizes = sorted({members for costs in found.values() for members, _ in costs})
    title = "a pick and an offer, µs of CPU, by number of members"
    table = _table(title, "policy", [f"{size:,}" for size in sizes])
    for policy, costs in found.items():
        known = dict(costs)
        table.add_row(policy, *(_short(known[n] * 1e6) if n in known else "" for n in sizes))
    return table


def rows(some: Iterable[Row]) -> Table:
    """What theory says, and what was simulated."""
    figures = ("theory", "simulated", "off", "± (95 %)", "allowed")
    table = _table("simulation against theory", "what", figures, "")
    for row in some:
        error = "" if row.error is None else f"{row.error / row.theory:.2%}"
        table.add_row(
            row.what, f"{row.theory:.4g}", f"{row.simulated:.4g}", f"{row.off:+.2%}", error,
            f"{row.allowed:.0%}", _verdict(row.passed),
        )  # fmt: skip
    return table


def pairs(some: Iterable[Pair]) -> Table:
    """What was measured, and what was simulated."""
    figures = ("latency", "measured ms", "simulated ms", "off", "allowed")
    table = _table("simulation against reality", "policy", figures, "")
    for pair in some:
        table.add_row(
            pair.policy, pair.what, _short(pair.measured * 1e3), _short(pair.simulated * 1e3),
            f"{pair.off:+.1%}", f"{pair.allowed:.0%}", _verdict(pair.passed),
        )  # fmt: skip
    return table


def _table(title: str, first: str, figures: Iterable[str], *last: str) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    for name in last:
        table.add_column(name)
    return table


def _figures(sample: Sample) -> list[str]:
    counts = sample.requests
    return [
        f"{sample.throughput:,.0f}",
        *(_short(sample.percentile(each) * 1e3) for each in _PERCENTS),
        "" if sample.recalls is None else f"{sample.recalls:,}",
        "" if sample.queue_mean is None else _short(sample.queue_mean),
        f"{max(counts) * len(counts) / sum(counts):.2f}" if sum(counts) else "",
    ]


def _short(number: float) -> str:
    """Three digits, and all of those before the point."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def _verdict(passed: bool) -> str:
    return "ok" if passed else "OFF"
