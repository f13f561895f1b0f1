"""Requests on kept connections: what the worker's HTTP engine makes, the master out of the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from benchmarks import loads
from benchmarks.runner import Metric

if TYPE_CHECKING:
    from benchmarks.peers import RunningPeer
    from benchmarks.runner import Options, Sample


@final
class KeepAlive:
    name = "keepalive"
    metrics = (
        Metric("per_second", "wrk -c64 req/s"),
        Metric("total_cpu", "all µs/req", 1, 1e6, higher_is_better=False),
        Metric("errors", "errors", higher_is_better=False, is_count=True),
    )

    def workers(self, options: Options) -> int:
        return options.workers

    def warm_up(self, peer: RunningPeer, options: Options) -> None:
        loads.keep_alive(peer.port, min(1.0, options.duration))

    def sample(self, peer: RunningPeer, options: Options) -> Sample:
        before = peer.cpu()
        wrk = loads.keep_alive(peer.port, options.duration)
        spent = peer.cpu().since(before)
        return {
            "per_second": wrk.per_second,
            "total_cpu": spent / max(1, wrk.completed),
            "errors": float(wrk.errors),
        }
