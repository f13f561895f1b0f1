"""New connections: how many a second, what each costs, and how long a hand-off takes.

Three measurements per sample: `ab -c 50` and `wrk -c 64` with a connection per request, both
saturating, with the CPU of the master and of all processes per connection taken around wrk's; then
our own open loop at a moderate rate for the latency from connect() to the first byte. The rate must
stay well below saturation, or the latency would be that of a queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from benchmarks import loads
from benchmarks.loadgen import Plan, run
from benchmarks.runner import Metric

if TYPE_CHECKING:
    from benchmarks.peers import RunningPeer
    from benchmarks.runner import Options, Sample

_MICRO = 1e6
_MILLI = 1e3


@final
class Handoff:
    name = "handoff"
    metrics = (
        Metric("ab_per_second", "ab -c50 conn/s"),
        Metric("wrk_per_second", "wrk -c64 conn/s"),
        Metric("master_cpu", "master µs/conn", 1, _MICRO, higher_is_better=False, of_master=True),
        Metric("total_cpu", "all µs/conn", 1, _MICRO, higher_is_better=False),
        Metric("p50", "p50 ms", 2, _MILLI, higher_is_better=False),
        Metric("p99", "p99 ms", 2, _MILLI, higher_is_better=False),
        Metric("errors", "errors", higher_is_better=False, is_count=True),
    )

    def workers(self, options: Options) -> int:
        return options.workers

    def warm_up(self, peer: RunningPeer, options: Options) -> None:
        loads.new_connections_wrk(peer.port, min(1.0, options.duration))

    def sample(self, peer: RunningPeer, options: Options) -> Sample:
        ab = loads.new_connections_ab(peer.port, options.duration)
        before = peer.cpu()
        wrk = loads.new_connections_wrk(peer.port, options.duration)
        after = peer.cpu()
        plan = Plan(
            port=peer.port, rate=options.rate, duration=options.duration, keep_records=False
        )
        latency = run(plan)
        connections = max(1, wrk.completed)
        return {
            "ab_per_second": ab.per_second,
            "wrk_per_second": wrk.per_second,
            "master_cpu": after.since(before, {peer.master}) / connections,
            "total_cpu": after.since(before) / connections,
            "p50": latency.percentile(50),
            "p99": latency.percentile(99),
            "errors": float(ab.errors + wrk.errors + latency.failed),
        }
