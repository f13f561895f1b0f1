"""How many requests of a workload a server can answer in a second, when nothing goes wrong.

A closed loop with the workload's clients, and with the mean of its service times for all requests:
the mean is what capacity is made of, and a heavy tail would need minutes to show its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.generator.ceiling import closed_loop, more_than
from benchmarks.generator.offer import Offer
from benchmarks.harness.cell import cores
from benchmarks.loads import LoadError
from benchmarks.study.service import Constant
from benchmarks.study.workloads import Work

if TYPE_CHECKING:
    from collections.abc import Hashable

    from benchmarks.generator.pool import Pool
    from benchmarks.harness.plan import Options
    from benchmarks.harness.servers import Server
    from benchmarks.study.workloads import Workload

__all__ = ["alike", "capacity", "doubt", "nominal"]

_PER_WORKER = 4
"""Clients of the closed loop, where the workload doesn't say how many there are."""
_SECONDS = 0.8
_WARM_UP = 0.2


def capacity(server: Server, workload: Workload, options: Options, pool: Pool) -> float:
    """Requests a second; LoadError without an answer."""
    offer = Offer(
        server.port,
        more_than(workload.service, options.workers),
        _WARM_UP,
        Constant(workload.service.mean),
        workload.work,
        workload.clients,
        workload.connections or _PER_WORKER * options.workers,
        timeout=0.0,
        processes=options.processes,
    )
    closed_loop(pool, offer)
    found = closed_loop(pool, replace(offer, duration=_SECONDS))
    if not found:
        raise LoadError("the closed loop for the capacity had no answer")
    return found


def alike(workload: Workload) -> Hashable:
    """Workloads with the same one have the same capacity, which is measured once for all."""
    return workload.service.mean, workload.work, workload.clients, workload.connections


def nominal(workload: Workload, workers: int) -> float | None:
    """Requests a second if a request cost nothing but its work; None without any work."""
    if not workload.service.mean:
        return None
    at_once = workers if workload.work is Work.BLOCK else min(workers, cores())
    return at_once / workload.service.mean


def doubt(workload: Workload, found: float, workers: int) -> str:
    """A sentence when a capacity can't be right; else empty.

    More than the workers can do is a mistake; less than half of it means that something else was
    measured, the generator or a busy machine.
    """
    most = nominal(workload, workers)
    if most is None or most / 2 <= found <= most * 1.05:
        return ""
    return (
        f"{workload.name}: {found:.0f} requests/s were measured as its capacity, where "
        f"{workers} workers could do {most:.0f}; its loads may mean something else"
    )
