"""A hundred slow requests at once, each on a connection of its own: how many does each worker get?

The complaint that balancer exists for. Where workers race for one accept queue, whoever is awake
takes most; where the kernel hashes, luck decides. A slow request costs a worker nothing here (it
sleeps), so the makespan stays near one second for everybody, and the counts are the figure: with
requests that cost CPU, the fullest worker is the one that everybody waits for.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, final

from benchmarks.compare import jain
from benchmarks.loadgen import Outcome, Plan, run
from benchmarks.loads import LoadError
from benchmarks.runner import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.peers import RunningPeer
    from benchmarks.runner import Options, Sample

REQUESTS = 100
WORKERS = 5
SHARES = tuple(f"worker_{number}" for number in range(1, WORKERS + 1))
"""Keys of the counts, the largest first: no pid is worth remembering."""

WHAT = f"{REQUESTS} requests of 1 s, all at once, each on a new connection"


@final
class Fairness:
    name = "fairness"
    metrics = (
        Metric("max_by_mean", "max ÷ mean", 2, higher_is_better=False),
        Metric("jain", "Jain index", 3),
        Metric("makespan", "makespan s", 2, higher_is_better=False),
        Metric("errors", "errors", higher_is_better=False, is_count=True),
    )

    def workers(self, options: Options) -> int:  # noqa: ARG002 - always five
        return WORKERS

    def warm_up(self, peer: RunningPeer, options: Options) -> None:  # noqa: ARG002 - a fixed count
        plan = Plan(port=peer.port, path="/pid", count=200, concurrency=10, keep_records=False)
        if run(plan).failed:
            raise LoadError("the first requests failed")

    def sample(self, peer: RunningPeer, options: Options) -> Sample:  # noqa: ARG002 - a fixed count
        plan = Plan(
            port=peer.port, path="/sleep/1", count=REQUESTS, concurrency=REQUESTS, timeout=60.0
        )
        report = run(plan)
        counts = counts_by_worker(
            (record.pid for record in report.records if record.outcome == Outcome.OK), WORKERS
        )
        return {
            "max_by_mean": max(counts) * WORKERS / max(1, sum(counts)),
            "jain": jain(counts),
            "makespan": report.seconds,
            "errors": float(report.failed),
            **dict(zip(SHARES, map(float, counts), strict=True)),
        }


def counts_by_worker(pids: Iterable[int], workers: int) -> list[int]:
    """How many answers each worker gave, the busiest first; those that gave none are zeros.

    LoadError when more have answered than there are: one was replaced meanwhile.
    """
    counts = [count for _, count in Counter(pids).most_common()]
    if len(counts) > workers:
        raise LoadError(f"{len(counts)} processes answered where {workers} workers were started")
    return counts + [0] * (workers - len(counts))
