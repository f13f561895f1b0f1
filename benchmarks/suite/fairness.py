"""A hundred slow requests, each on a connection of its own: how many does each worker get?

Once all of them come at once, and once one by one, as fast as clients that know nothing of each
other do.

The complaint that balancer exists for. Where workers race for one accept queue, whoever is awake
takes most; where the kernel hashes, luck decides. A slow request costs a worker nothing here (it
sleeps), so the makespan stays near one second for everybody, and the counts are the figure: with
requests that cost CPU, the fullest worker is the one that everybody waits for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, final

from benchmarks.compare import jain
from benchmarks.loadgen import Outcome, Plan, run
from benchmarks.loads import LoadError
from benchmarks.runner import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.loadgen import Report
    from benchmarks.peers import RunningPeer
    from benchmarks.runner import Options, Sample

REQUESTS = 100
WORKERS = 5
SHARES = tuple(f"worker_{number}" for number in range(1, WORKERS + 1))
"""Keys of the counts, the largest first: no pid is worth remembering."""

PACE = 100.0
"""Connections per second where they come one by one: a worker has one before the next one comes."""
_ONES = f"one by one, {PACE:.0f} a second"

WHAT = f"{REQUESTS} requests of 1 s, all at once, each on a new connection"


@final
class Fairness:
    name = "fairness"
    metrics = (
        Metric("max_by_mean", "max ÷ mean", 2, higher_is_better=False),
        Metric("jain", "Jain index", 3),
        Metric("makespan", "makespan s", 2, higher_is_better=False),
        Metric("errors", "errors", higher_is_better=False, is_count=True),
        Metric("ones_max_by_mean", "max ÷ mean", 2, higher_is_better=False, group=_ONES),
        Metric("ones_jain", "Jain index", 3, group=_ONES),
        Metric("ones_most", "most", higher_is_better=False, group=_ONES),
        Metric("ones_least", "least", group=_ONES),
        Metric("ones_errors", "errors", higher_is_better=False, is_count=True, group=_ONES),
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
        report, counts = _measure(plan)
        ones, singly = _measure(replace(plan, rate=PACE))
        return {
            "max_by_mean": _max_by_mean(counts),
            "jain": jain(counts),
            "makespan": report.seconds,
            "errors": float(report.failed),
            **dict(zip(SHARES, map(float, counts), strict=True)),
            "ones_max_by_mean": _max_by_mean(singly),
            "ones_jain": jain(singly),
            "ones_most": float(max(singly)),
            "ones_least": float(min(singly)),
            "ones_errors": float(ones.failed),
        }


def _measure(plan: Plan) -> tuple[Report, list[int]]:
    report = run(plan)
    pids = (record.pid for record in report.records if record.outcome == Outcome.OK)
    return report, counts_by_worker(pids, WORKERS)


def _max_by_mean(counts: list[int]) -> float:
    return max(counts) * WORKERS / max(1, sum(counts))


def counts_by_worker(pids: Iterable[int], workers: int) -> list[int]:
    """How many answers each worker gave, the busiest first; those that gave none are zeros.

    LoadError when more have answered than there are: one was replaced meanwhile.
    """
    counts = [count for _, count in Counter(pids).most_common()]
    if len(counts) > workers:
        raise LoadError(f"{len(counts)} processes answered where {workers} workers were started")
    return counts + [0] * (workers - len(counts))
