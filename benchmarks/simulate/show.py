"""A study, its picks and the rows of theory in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.simulate.reality import Pair
    from benchmarks.simulate.validate import Row
    from benchmarks.study.record import Cell

__all__ = ["cells", "pairs", "picks", "rows"]

_TITLES = ("req/s", "p50 ms", "p90", "p99", "p99.9", "max", "recalls", "queue", "max ÷ mean")
_PERCENTS = (50.0, 90.0, 99.0, 99.9, 100.0)


def cells(workload: str, some: Iterable[Cell]) -> Table:
    """The cells of one workload."""
    table = Table(title=workload, title_justify="left")
    table.add_column("policy")
    for title in (
        "req/s",
        "p50 ms",
        "p90",
        "p99",
        "p99.9",
        "max",
        "recalls",
        "queue",
        "max ÷ mean",
    ):
        table.add_column(title, justify="right")
    table.add_column("errors")
    for cell in some:
        for sample in cell.samples:
            latencies = [f"{sample.percentile(each) * 1e3:,.2f}" for each in _PERCENTS]
            queue = "" if sample.queue_mean is None else f"{sample.queue_mean:.2f}"
            recalls = "" if sample.recalls is None else f"{sample.recalls:,}"
            errors = ", ".join(f"{count:,} {reason}" for reason, count in sample.errors.items())
            spread = _spread(sample.requests)
            rate = f"{sample.throughput:,.0f}"
            table.add_row(cell.subject, rate, *latencies, recalls, queue, spread, errors)
    return table


def _spread(counts: Sequence[int]) -> str:
    whole = sum(counts)
    return f"{max(counts) * len(counts) / whole:.2f}" if whole else ""


def picks(found: Mapping[str, Sequence[tuple[int, float]]]) -> Table:
    """Cost of a pick by policy and number of members."""
    sizes = sorted({members for costs in found.values() for members, _ in costs})
    table = Table(title="a pick and an offer, µs of CPU, by members", title_justify="left")
    table.add_column("policy")
    for size in sizes:
        table.add_column(f"{size:,}", justify="right")
    for policy, costs in found.items():
        known = dict(costs)
        table.add_row(
            policy, *(f"{known[size] * 1e6:,.2f}" if size in known else "" for size in sizes)
        )
    return table


def rows(some: Iterable[Row]) -> Table:
    """What theory says, and what was simulated."""
    table = Table(title="simulation against theory", title_justify="left")
    table.add_column("what")
    for title in ("theory", "simulated", "off", "± (95 %)", "allowed"):
        table.add_column(title, justify="right")
    table.add_column("")
    for row in some:
        error = "" if row.error is None else f"{row.error / row.theory:.2%}"
        table.add_row(
            row.what, f"{row.theory:.5g}", f"{row.simulated:.5g}", f"{row.off:+.2%}", error,
            f"{row.allowed:.0%}", "ok" if row.passed else "OFF",
        )  # fmt: skip
    return table


def pairs(some: Iterable[Pair]) -> Table:
    """What was measured, and what was simulated."""
    table = Table(title="simulation against reality", title_justify="left")
    table.add_column("policy")
    for title in ("latency", "measured ms", "simulated ms", "off", "allowed"):
        table.add_column(title, justify="right")
    table.add_column("")
    for pair in some:
        table.add_row(
            pair.policy, pair.what, f"{pair.measured * 1e3:.2f}", f"{pair.simulated * 1e3:.2f}",
            f"{pair.off:+.1%}", f"{pair.allowed:.0%}", "ok" if pair.passed else "OFF",
        )  # fmt: skip
    return table
