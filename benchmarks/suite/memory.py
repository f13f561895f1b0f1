"""Memory of a server by role, as PSS: after a first thousand requests, nothing under way.

A worker that never ran its code has not yet copied the pages it will copy, so a server fresh from
the fork looks better than it is; therefore the warm-up. Pages of files that unrelated processes
map too (a Python that happens to run beside) count for less: measure on an otherwise idle machine.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, final

from benchmarks.loadgen import Plan, run
from benchmarks.measure import pss_bytes
from benchmarks.runner import Metric

if TYPE_CHECKING:
    from benchmarks.peers import RunningPeer
    from benchmarks.runner import Options, Sample

_MEGA = 1 / 2**20
_WARM_UP_REQUESTS = 1000


@final
class Memory:
    name = "memory"
    metrics = (
        Metric("worker", "worker MB", 1, _MEGA, higher_is_better=False),
        Metric("helper", "fork server MB", 1, _MEGA, higher_is_better=False),
        Metric("master", "master MB", 1, _MEGA, higher_is_better=False),
        Metric("total", "all MB", 1, _MEGA, higher_is_better=False),
    )

    def workers(self, options: Options) -> int:
        return options.workers

    def warm_up(self, peer: RunningPeer, options: Options) -> None:  # noqa: ARG002 - a fixed count
        run(Plan(port=peer.port, count=_WARM_UP_REQUESTS, timeout=30.0, keep_records=False))

    def sample(self, peer: RunningPeer, options: Options) -> Sample:  # noqa: ARG002 - nothing to set
        workers = peer.workers()
        taken = {pid: float(pss_bytes(pid)) for pid in peer.process.family()}
        helpers = [taken[pid] for pid in taken if pid not in workers and pid != peer.master]
        sample = {
            "worker": median(taken[pid] for pid in workers),
            "master": taken[peer.master],
            "total": sum(taken.values()),
        }
        return sample | ({"helper": sum(helpers)} if helpers else {})
