"""The benchmarks, by name: what is measured, of whom, and how it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.compare import View
from benchmarks.suite import fairness, serve
from benchmarks.suite.fairness import Fairness
from benchmarks.suite.handoff import Handoff
from benchmarks.suite.keepalive import KeepAlive
from benchmarks.suite.memory import Memory
from benchmarks.suite.respawn import Respawn
from benchmarks.suite.serve import Serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.peers import Peer
    from benchmarks.runner import Benchmark


@dataclass(frozen=True, slots=True)
class Entry:
    """One benchmark. `peers` takes other checkouts of balancer and options for its command line."""

    make: Callable[[], Benchmark]
    peers: Callable[[Sequence[Path], Sequence[str]], list[Peer]] = peers.for_demo
    view: View = View()  # noqa: RUF009 - frozen


BENCHMARKS: dict[str, Entry] = {
    "handoff": Entry(Handoff),
    "keepalive": Entry(KeepAlive),
    "memory": Entry(Memory),
    "respawn": Entry(Respawn),
    "serve": Entry(
        Serve,
        peers.for_speed,
        View(references=(serve.UVICORN, serve.NODE), ratios=False, floors=serve.FLOORS),
    ),
    "fairness": Entry(
        Fairness,
        peers.for_fairness,
        View(ratios=False, shares=fairness.SHARES, what=fairness.WHAT),
    ),
}
