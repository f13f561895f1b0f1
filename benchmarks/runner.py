"""Alternating rounds: A B C, A B C, … so that whatever the machine does, it does to all of them.

Numbers of different runs, or of different minutes, can't be compared; two neighbours of one round
can. So ratios are taken per round, and the report shows their median and spread. Peers stay up for
the whole run (a JIT needs its warm-up only once, and an idle server costs nothing), and are
measured one at a time. A round that Ctrl-C cuts short keeps the peers it has finished.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from benchmarks.loads import LoadError
from benchmarks.peers import MissingPeerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.peers import Peer, RunningPeer


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure: its key in the samples, its column title, how it is printed.

    `scale` turns the stored value into the printed unit. `of_master` figures are left out for
    peers whose master does not hand connections over; counts have no ratio. Figures of one `group`
    stand in one table, whose title it is; the first of them is the one that peers are compared by.
    """

    key: str
    title: str
    digits: int = 0
    scale: float = 1.0
    higher_is_better: bool = True
    of_master: bool = False
    is_count: bool = False
    group: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. `duration` is in seconds per measurement.

    `rate` is that of an open loop, a second; `connections` are the idle ones.
    """

    rounds: int = 5
    duration: float = 3.0
    workers: int = 2
    rate: float = 500.0
    connections: int = 10_000


Sample = dict[str, float]


class Benchmark(Protocol):
    """One benchmark: how to warm a peer up, and how to take one sample of it."""

    @property
    def name(self) -> str: ...

    @property
    def metrics(self) -> tuple[Metric, ...]: ...

    def workers(self, options: Options) -> int: ...

    def warm_up(self, peer: RunningPeer, options: Options) -> None: ...

    def sample(self, peer: RunningPeer, options: Options) -> Sample: ...


@dataclass(slots=True)
class Results:
    """Everything a run produced: per peer one sample per round, or why there is none."""

    benchmark: str
    metrics: tuple[Metric, ...]
    options: Options
    samples: dict[str, list[Sample | None]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    without_master: set[str] = field(default_factory=set)
    interrupted: bool = False


def run(
    benchmark: Benchmark,
    peers: Sequence[Peer],
    options: Options,
    progress: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
    *,
    fresh: bool = False,
) -> Results:
    """Start the peers, warm them up, take the rounds; Ctrl-C ends it and keeps what there is.

    With `fresh` every sample has a peer of its own, started for it and ended after it: memory
    that a process once had is not given back, and the next round would find it there.
    """
    options = replace(options, workers=benchmark.workers(options))
    results = Results(benchmark.name, benchmark.metrics, options)
    results.without_master = {peer.name for peer in peers if not peer.hands_over}
    with ExitStack() as stack:
        try:
            running = {} if fresh else _start(benchmark, peers, options, results, stack)
            for round_number in range(1, options.rounds + 1):
                for peer in peers:
                    if peer.name in results.missing:
                        continue
                    progress(f"round {round_number}/{options.rounds}: {peer.name}")
                    with ExitStack() as its_own:
                        if fresh:
                            running = _start(benchmark, [peer], options, results, its_own)
                        if started := running.get(peer.name):
                            sample = _sample(benchmark, started, options, progress)
                            results.samples[peer.name].append(sample)
        except KeyboardInterrupt:
            results.interrupted = True
            progress("interrupted; these are the rounds that were finished")
    return results


def _start(
    benchmark: Benchmark,
    peers: Sequence[Peer],
    options: Options,
    results: Results,
    stack: ExitStack,
) -> dict[str, RunningPeer]:
    running: dict[str, RunningPeer] = {}
    for peer in peers:
        try:
            started = stack.enter_context(peer.start(options.workers))
            benchmark.warm_up(started, options)
        except (MissingPeerError, LoadError) as error:
            results.missing[peer.name] = str(error)
            continue
        running[peer.name] = started
        results.samples.setdefault(peer.name, [])
    return running


def _sample(
    benchmark: Benchmark, peer: RunningPeer, options: Options, progress: Callable[[str], None]
) -> Sample | None:
    try:
        return benchmark.sample(peer, options)
    except LoadError as error:
        progress(f"  no sample: {error}")
        return None
