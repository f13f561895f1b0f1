"""Latencies as histograms of three significant digits, which can be added up.

The package ``hdrhistogram`` is Gil Tene's, whose percentiles others' tools show too.  Its Python
takes 10 µs to record a value, measured, a tenth of what a request costs the generator: so the loop
keeps plain numbers, and they are recorded when it is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hdrh.histogram import HdrHistogram

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LONGEST", "STEPS", "merged", "packed", "percentiles"]

LONGEST = 60.0
"""Seconds; what took longer is recorded as this."""
STEPS = (*(float(step) for step in range(100)), 99.5, 99.9, 99.95, 99.99, 100.0)
"""Per cent: steps that become finer towards the end, where the tail is."""
_MICRO = 1e6


def packed(seconds: Iterable[float]) -> bytes:
    """A histogram of these, in microseconds, in the package's own encoding."""
    histogram = _empty()
    for value in seconds:
        histogram.record_value(max(1, round(min(value, LONGEST) * _MICRO)))
    encoded: bytes = histogram.encode()
    return encoded


def merged(parts: Iterable[bytes]) -> HdrHistogram:
    """All of them in one."""
    histogram = _empty()
    for part in parts:
        histogram.decode_and_add(part)
    return histogram


def percentiles(histogram: HdrHistogram) -> list[tuple[float, float]]:
    """(per cent, seconds) for every step; none of nothing."""
    if not histogram.get_total_count():
        return []
    # All at once: asked one by one, each is a walk through the histogram.
    values = histogram.get_percentile_to_value_dict(list(STEPS))
    return [(step, values[step] / _MICRO) for step in STEPS]


def _empty() -> HdrHistogram:
    return HdrHistogram(1, round(LONGEST * _MICRO), 3)
