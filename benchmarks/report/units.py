"""Figures as a reader wants them: three digits and a unit."""

from __future__ import annotations

from math import isinf

__all__ = ["NOTHING", "count", "duration", "factor", "load", "rate", "ratio", "spread", "tick"]

NOTHING = "–"
"""What stands where there is no figure."""

_STEPS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def duration(seconds: float | None) -> str:
    """`5.10 ms`, `2.03 s`, `48.0 µs`; the dash for None and for what never ended."""
    if seconds is None or isinf(seconds):
        return NOTHING
    for unit, name in _STEPS:
        # 0.9995 ms would be rounded to 1,000 µs
        if seconds >= unit * 0.9995:
            return f"{_digits(seconds / unit)} {name}"
    return "0 s" if not seconds else f"{_digits(seconds / 1e-9)} ns"


def tick(seconds: float) -> str:
    """A round duration for an axis: `10 ms`, `0.5 µs`."""
    for unit, name in _STEPS:
        if seconds >= unit * 0.9995:
            return f"{round(seconds / unit, 3):g} {name}"
    return f"{seconds / 1e-9:g} ns"


def _digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def rate(per_second: float | None) -> str:
    """Requests a second: `1,234`, `12.3`."""
    if per_second is None:
        return NOTHING
    return f"{per_second:,.0f}" if per_second >= 99.95 else f"{per_second:.1f}"


def count(number: float | None, digits: int = 0) -> str:
    """How many; a median of whole numbers may lie between two of them."""
    if number is None:
        return NOTHING
    return f"{number:,.{digits}f}" if digits or not number % 1 else f"{number:,.1f}"


def factor(times: float | None) -> str:
    """`1.00`, `3.2`, `390`, `12k`: times as much as something else."""
    if times is None or isinf(times):
        return NOTHING
    if times >= 9_999.5:
        return f"{times / 1000:,.0f}k"
    if times >= 99.95:
        return f"{times:.0f}"
    return f"{times:.1f}" if times >= 9.995 else f"{times:.2f}"


def spread(share: float | None) -> str:
    """`±7%`, `±<1%`, `±>999%`; empty for None."""
    if share is None:
        return ""
    if share > 9.99:
        return "±>999%"
    return f"±{share * 100:,.0f}%" if share >= 0.005 or not share else "±<1%"


def ratio(times: float | None) -> str:
    """As ``factor``, with the digit more that tells what is nearly the same from what is."""
    return f"{times:.3f}" if times is not None and 0.95 < times < 1.05 else factor(times)


def load(share: float) -> str:
    """`70 %`: of a workload's capacity."""
    return f"{round(share * 100, 1):g} %"
