"""From runs to the record of a study: one cell for each policy, workload and number of workers."""

from __future__ import annotations

from dataclasses import dataclass
from time import process_time
from typing import TYPE_CHECKING, final

from benchmarks.simulate.run import simulate
from benchmarks.simulate.setup import Setup, capacity
from benchmarks.simulate.subjects import maker, weights
from benchmarks.study.record import Cell, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.simulate.run import Outcome
    from benchmarks.simulate.setup import Costs
    from benchmarks.study.workloads import Workload

__all__ = ["SCALE", "Visit", "column", "plan", "run", "sample", "setup_for"]

USUAL = 4
"""Workers, where nothing is said."""
SCALE = (100, 1000)
"""Workers with which one workload is repeated, where nothing is said."""


@final
@dataclass(frozen=True, slots=True)
class Visit:
    """One cell that is to be simulated."""

    policy: str
    workload: Workload
    workers: int
    load: float
    """From 0 to 1."""


def plan(
    policies: Sequence[str], workloads: Sequence[Workload], workers: Sequence[int], load: float
) -> list[Visit]:
    """Every policy with every workload; without ``workers``, with the usual and the scale table."""
    visits = [
        Visit(policy, workload, count, load)
        for count in workers or (USUAL,)
        for workload in workloads
        for policy in policies
    ]
    if not workers:
        visits += [
            Visit(policy, workloads[0], count, load) for count in SCALE for policy in policies
        ]
    return visits


def column(visit: Visit, workers: int) -> str:
    """What the cell's workload is called: with the number of workers, unless it is the study's."""
    name = visit.workload.name
    return name if visit.workers == workers else f"{name} × {visit.workers:,} workers"


def setup_for(visit: Visit, count: int, seed: int, costs: Costs, kills: float = 0.0) -> Setup:
    """The run of a visit."""
    rate = visit.load * capacity(visit.workload, visit.workers, costs)
    return Setup(
        visit.workload,
        visit.workers,
        rate,
        count,
        maker(visit.policy),
        kernel=visit.policy,
        seed=seed,
        costs=costs,
        kills=kills,
        weights=tuple(weights(visit.policy, visit.workload, visit.workers)),
    )


def sample(setup: Setup, outcome: Outcome) -> Sample:
    """A run as one measurement."""
    tally = outcome.tally
    counts = sorted(
        zip(tally.connections, tally.requests, strict=True), key=lambda each: each, reverse=True
    )
    lasted = tally.ended_at - tally.since
    by_kernel = outcome.recalls is None
    return Sample(
        offered=setup.rate,
        throughput=tally.latencies.count / lasted if lasted > 0 else 0.0,
        answered=tally.latencies.count,
        errors=dict(tally.errors),
        percentiles=tally.latencies.percentiles(),
        mean=tally.latencies.mean,
        connections=[connections for connections, _ in counts],
        requests=[requests for _, requests in counts],
        recalls=outcome.recalls,
        queue_mean=None if by_kernel else tally.queue_area / outcome.seconds,
        queue_max=None if by_kernel else tally.queue_most,
    )


def run(visit: Visit, workers: int, setup: Setup) -> tuple[Cell, float]:
    """The cell, and the seconds of CPU that a connection took to simulate."""
    began = process_time()
    outcome = simulate(setup)
    took = process_time() - began
    cell = Cell(visit.policy, column(visit, workers), visit.load, [sample(setup, outcome)])
    return cell, took / setup.count
