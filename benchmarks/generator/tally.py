"""What one process has counted, and all of them together."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from benchmarks.generator import histogram
from benchmarks.generator.offer import Harvest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.generator.offer import Offer

__all__ = ["MOST_CPU", "MOST_LAG", "Tally", "gather"]

MOST_LAG = 0.005
"""Seconds: the p99 of being late, from which on the generator has measured itself."""
MOST_CPU = 0.9
"""Of a core: busier than this, a process's schedule depends on its own speed."""


@final
@dataclass(slots=True)
class Tally:
    """One process's account; what was due in the warm-up is not in it."""

    due: int = 0
    answered: int = 0
    within: int = 0
    latencies: bytes = b""
    """A packed histogram."""
    latency: float = 0.0
    """The sum of all."""
    lags: array[float] = field(default_factory=lambda: array("d"))
    errors: Counter[str] = field(default_factory=Counter)
    connections: Counter[int] = field(default_factory=Counter)
    requests: Counter[int] = field(default_factory=Counter)
    cpu_share: float = 0.0
    shortage: str = ""
    """What the process ran out of."""


def gather(offer: Offer, tallies: Sequence[Tally]) -> Harvest:
    """The account of all processes."""
    answered = sum(tally.answered for tally in tallies)
    lags = sorted(lag for tally in tallies for lag in tally.lags)
    harvest = Harvest(
        due=sum(tally.due for tally in tallies),
        answered=answered,
        within=sum(tally.within for tally in tallies),
        errors=dict(sum((tally.errors for tally in tallies), Counter[str]())),
        percentiles=histogram.percentiles(histogram.merged(_latencies(tallies))),
        mean=sum(tally.latency for tally in tallies) / answered if answered else 0.0,
        lag_p99=lags[len(lags) * 99 // 100] if lags else 0.0,
        seconds=offer.duration,
        connections=dict(sum((tally.connections for tally in tallies), Counter[int]())),
        requests=dict(sum((tally.requests for tally in tallies), Counter[int]())),
        cpu_share=max(tally.cpu_share for tally in tallies),
    )
    shortages = [tally.shortage for tally in tallies if tally.shortage]
    harvest.saturated = shortages[0] if shortages else why_saturated(harvest)
    return harvest


def why_saturated(harvest: Harvest) -> str:
    """The sentence for a generator that was too slow; empty when it wasn't."""
    if harvest.cpu_share > MOST_CPU:
        return (
            f"the generator's busiest process used {harvest.cpu_share:.0%} of a core, so this "
            "measured the generator"
        )
    if harvest.lag_p99 > MOST_LAG:
        return (
            f"one request in a hundred was sent {harvest.lag_p99 * 1e3:.1f} ms late or more, so "
            "this measured the generator"
        )
    return ""


def _latencies(tallies: Sequence[Tally]) -> list[bytes]:
    return [tally.latencies for tally in tallies if tally.answered]
