"""The simulation against a real server: ``python -m benchmarks simulate --reality``.

The parameters are fixed beforehand and nothing is fitted: four workers, requests that block their
worker for an exponential time of mean 20 ms, 70 % of what four workers can do, a new connection for
each.  The real run and the simulated one draw from the same distributions; p50 and p99 of the
response time may differ by a quarter.

20 ms is far above what the machine adds (a hand-off, a request's own cost: 0.3 ms together), and
sleeping needs no core, so the load generator can share the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from benchmarks.generator.offer import Offer
from benchmarks.generator.pool import run
from benchmarks.peers.balancer import Balancer
from benchmarks.simulate.run import simulate
from benchmarks.simulate.setup import Setup
from benchmarks.simulate.subjects import maker
from benchmarks.study.service import Exponential
from benchmarks.study.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.generator.offer import Harvest

__all__ = [
    "ALLOWED",
    "POLICIES",
    "Pair",
    "Reality",
    "RealityError",
    "compare",
    "measure",
    "simulated",
]

POLICIES = ("round-robin", "least-connections")
ALLOWED = 0.25
_PERCENTS = (50.0, 99.0)


class RealityError(Exception):
    """There is nothing to compare with; the message is a sentence that says why."""


@final
@dataclass(frozen=True, slots=True)
class Reality:
    """What is run, really and simulated.  Times are in seconds."""

    workers: int = 4
    mean: float = 0.02
    load: float = 0.7
    duration: float = 60.0
    warm_up: float = 2.0
    seed: int = 1
    simulated: int = 200_000
    """Requests of the simulated run: so many that its percentiles are sure."""

    @property
    def workload(self) -> Workload:
        return Workload("reality", "an exponential time of mean 20 ms", Exponential(self.mean))

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.load * self.workers / self.mean


@final
@dataclass(frozen=True, slots=True)
class Pair:
    """One percentile of one policy, measured and simulated, in seconds."""

    policy: str
    what: str
    measured: float
    simulated: float
    allowed: float = ALLOWED

    @property
    def off(self) -> float:
        """How far the simulation is off what was measured."""
        return self.simulated / self.measured - 1 if self.measured else float("inf")

    @property
    def passed(self) -> bool:
        return abs(self.off) <= self.allowed


def simulated(reality: Reality, policy: str) -> list[float]:
    """The percentiles of the same server, simulated."""
    setup = Setup(
        reality.workload, reality.workers, reality.rate, reality.simulated, maker(policy),
        kernel=policy, seed=reality.seed,
    )  # fmt: skip
    latencies = simulate(setup).tally.latencies
    return [latencies.percentile(each) for each in _PERCENTS]


def measure(reality: Reality, policy: str) -> Harvest:
    """A real server under the real load; RealityError when that measured something else."""
    peer = Balancer(arguments=("--policy", policy), with_app=True, variant=policy)
    with peer.start(reality.workers) as server:
        harvest = run(
            Offer(
                server.port, reality.rate, reality.duration, reality.workload.service,
                warm_up=reality.warm_up, seed=reality.seed,
            )
        )  # fmt: skip
    if harvest.saturated:
        raise RealityError(f"{policy}: the generator measured itself: {harvest.saturated}")
    if harvest.errors:
        failed = ", ".join(f"{count} {reason}" for reason, count in harvest.errors.items())
        raise RealityError(f"{policy}: requests without an answer: {failed}")
    return harvest


def compare(
    reality: Reality,
    policies: Sequence[str] = POLICIES,
    measure: Callable[[Reality, str], Harvest] = measure,
) -> Iterator[Pair]:
    """Side by side, each percentile of each policy."""
    for policy in policies:
        measured = dict(measure(reality, policy).percentiles)
        for percent, found in zip(_PERCENTS, simulated(reality, policy), strict=True):
            yield Pair(policy, f"p{percent:g}", measured[percent], found)
