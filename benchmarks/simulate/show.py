"""What theory says and what reality does, beside the simulation, in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.simulate.reality import Pair
    from benchmarks.simulate.validate import Row

__all__ = ["pairs", "rows"]


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


def _short(number: float) -> str:
    """Three digits, and all of those before the point."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def _verdict(passed: bool) -> str:
    return "ok" if passed else "OFF"
