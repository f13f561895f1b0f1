"""The benchmarks, by name: what is measured, of whom, and how it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.compare import View
from benchmarks.suite import fairness, idle, proxy, serve
from benchmarks.suite.fairness import Fairness
from benchmarks.suite.handoff import Handoff
from benchmarks.suite.idle import Idle
from benchmarks.suite.keepalive import KeepAlive
from benchmarks.suite.memory import Memory
from benchmarks.suite.proxy import Proxy
from benchmarks.suite.respawn import Respawn
from benchmarks.suite.serve import Serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.peers import Peer
    from benchmarks.runner import Benchmark


@dataclass(frozen=True, slots=True)
class Entry:
    """One benchmark. `peers` takes other checkouts of balancer and options for its command line.

    `rate` is the open loop's where nobody asks for another; `fresh` asks for new processes for
    every sample.
    """

    make: Callable[[], Benchmark]
    peers: Callable[[Sequence[Path], Sequence[str]], list[Peer]] = peers.for_demo
    view: View = View()  # noqa: RUF009 - frozen
    rate: float = 500.0
    fresh: bool = False


BENCHMARKS: dict[str, Entry] = {
    "handoff": Entry(Handoff, peers.for_handoff),
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
    "proxy": Entry(
        Proxy,
        peers.for_proxy,
        View(ratios=False, floors=proxy.FLOORS, added=proxy.ADDED),
        rate=1000.0,
    ),
    "idle": Entry(
        Idle,
        peers.for_front_doors,
        View(ratios=False, ceilings=idle.CEILINGS, what="a fresh server for each sample"),
        fresh=True,
    ),
}
