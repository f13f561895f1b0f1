"""One measurement of one cell: load, trouble and a look at the server, at the same time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from benchmarks.generator.offer import Offer
from benchmarks.harness.trouble import trouble_for
from benchmarks.harness.watch import Watch
from benchmarks.loads import LoadError
from benchmarks.study.record import Sample
from benchmarks.study.workloads import Clients, Trouble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.generator.offer import Harvest
    from benchmarks.generator.pool import Pool
    from benchmarks.harness.plan import Options, Visit
    from benchmarks.harness.servers import Server
    from benchmarks.harness.watch import Observed

__all__ = ["by_worker", "measure", "sample_of"]

_ENOUGH = 20
"""Connections below which the master's CPU per connection is noise."""


def measure(
    server: Server, visit: Visit, rate: float, options: Options, pool: Pool
) -> Sample:  # fmt: skip
    """Offer ``rate`` requests a second for the options' duration.

    LoadError when there is no answer at all, or the server can't be looked at; GeneratorError.
    """
    workload = visit.workload
    needs_one = workload.trouble in {Trouble.SLOW, Trouble.STOPPED}
    pid = server.some_worker() if needs_one else 0
    slow = workload.trouble is Trouble.SLOW
    offer = Offer(
        server.port,
        rate,
        options.duration,
        workload.service,
        workload.work,
        workload.clients,
        workload.connections,
        options.warm_up,
        pid if slow else 0,
        workload.severity if slow else 1.0,
        options.timeout,
        options.processes,
        visit.seed,
    )
    watch = Watch(server)
    with watch, trouble_for(workload, server, pid) as trouble:

        def begun(at: float) -> None:
            watch.begin(at)
            trouble.begin(at)

        harvest = pool.run(offer, begun)
    server.spoilt = bool(harvest.errors)
    if not harvest.answered:
        raise LoadError(f"no request was answered: {_counts(harvest.errors)}")
    return sample_of(harvest, watch.result, visit, options.workers)


def sample_of(harvest: Harvest, seen: Observed, visit: Visit, workers: int) -> Sample:
    """The record of a measurement."""
    connections, requests = by_worker(harvest.connections, harvest.requests, workers)
    handed = seen.accepted
    if handed is None and visit.workload.clients is Clients.EACH_NEW:
        handed = sum(connections)
    known = visit.subject.hands_over and handed is not None and handed >= _ENOUGH
    return Sample(
        offered=harvest.due / harvest.seconds,
        throughput=harvest.within / harvest.seconds,
        answered=harvest.answered,
        errors=harvest.errors,
        percentiles=harvest.percentiles,
        mean=harvest.mean,
        connections=connections,
        requests=requests,
        recalls=seen.recalls if visit.subject.hands_over else None,
        queue_mean=seen.queue_mean if visit.subject.hands_over else None,
        queue_max=seen.queue_max if visit.subject.hands_over else None,
        master_cpu=seen.master_cpu / handed if known and handed else None,
        cpu=seen.cpu / harvest.answered,
        lag=harvest.lag_p99,
        saturated=harvest.saturated,
    )


def by_worker(
    connections: Mapping[int, int], requests: Mapping[int, int], workers: int
) -> tuple[list[int], list[int]]:  # fmt: skip
    """Counts by worker, those with most connections first; who answered nothing is a zero."""
    pids = connections.keys() | requests.keys()
    pairs = sorted(((connections.get(pid, 0), requests.get(pid, 0)) for pid in pids), reverse=True)
    pairs += [(0, 0)] * (workers - len(pairs))
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def cores() -> int:
    """That this process may use, and all that it starts."""
    return len(os.sched_getaffinity(0))


def _counts(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {why}" for why, count in sorted(errors.items())) or "none was due"
