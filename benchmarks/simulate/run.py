"""One run: the parts are put together, and the clock runs until every request has ended."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, final

from balancer.core.liveness import TICK
from benchmarks.simulate.clients import Arrivals, Bystander, Pool
from benchmarks.simulate.clock import NEVER, Clock
from benchmarks.simulate.crew import Crew
from benchmarks.simulate.doors import KERNELS
from benchmarks.simulate.master import Master
from benchmarks.simulate.tally import Tally
from benchmarks.study.workloads import Clients, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.simulate.crew import Door
    from benchmarks.simulate.setup import Setup

__all__ = ["Outcome", "simulate"]


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    tally: Tally
    seconds: float
    """Simulated, until the last answer."""
    recalls: int | None
    redelivered: int | None
    """None where the kernel decides."""


class _Run:
    def __init__(self, setup: Setup) -> None:
        # A stream of its own for everything that is drawn: what one policy draws must not change
        # the arrivals that the next one is compared under.
        self._setup = setup
        self._clock = clock = Clock()
        self.tally = tally = Tally(setup.workers, keep=setup.keep)
        tally.since = NEVER if setup.count * setup.warm_up >= 1 else 0.0
        self._crew = crew = Crew(clock, setup.costs, tally, _slowness(setup))
        self.master: Master | None = None
        if setup.make is None:
            door: Door = KERNELS[setup.kernel](clock, crew, self._random("hash"))
        else:
            draws = self._random("policy").random
            door = self.master = Master(clock, crew, tally, setup, draws, self._random("addresses"))
        crew.door = door
        pool = None
        if setup.workload.clients is not Clients.EACH_NEW:
            pool = Pool(clock, crew, setup, self._random("lives"), door.connect)
        self._arrivals = Arrivals(
            clock, tally, setup, self._random("times"), self._random("work"), door.connect, pool
        )
        self._deaths = self._random("deaths")

    def _random(self, name: str) -> Random:
        return Random(f"{self._setup.seed} {name}")

    def run(self) -> float:
        self._crew.start()
        self._arrivals.start()
        setup, clock = self._setup, self._clock
        if self.master is not None and (not setup.costs.after_work or self.master.probe):
            clock.at(TICK, self._look)
        if setup.workload.trouble is Trouble.BLOCKED:
            clock.at(setup.workload.severity, self._block)
        elif setup.workload.trouble is Trouble.STOPPED:
            clock.at(setup.workload.severity, self._stop)
        if setup.kills:
            clock.at(self._deaths.expovariate(setup.kills), self._kill)
        clock.run()
        return clock.now

    @property
    def _over(self) -> bool:
        return self._arrivals.over and not self.tally.open

    def _look(self, _: None) -> None:
        if self.master is not None and not self._over:
            self.master.look()
            self._clock.at(self._clock.now + TICK, self._look)

    def _block(self, _: None) -> None:
        if not self._arrivals.over:
            severity = self._setup.workload.severity
            self._crew.door.connect((NEVER, severity, Bystander()))
            self._clock.at(self._clock.now + 2 * severity, self._block)

    def _stop(self, _: None) -> None:
        if not self._arrivals.over:
            severity = self._setup.workload.severity
            self._crew.freeze(self._crew.workers[0], severity)
            self._clock.at(self._clock.now + 2 * severity, self._stop)

    def _kill(self, _: None) -> None:
        if not self._over:
            self._crew.kill(self._deaths.randrange(self._setup.workers), self._setup.respawn)
            gap = self._deaths.expovariate(self._setup.kills)
            self._clock.at(self._clock.now + gap, self._kill)


def _slowness(setup: Setup) -> list[float]:
    """By slot: how many times as long as usual its work takes."""
    slowness = [1.0] * setup.workers
    if setup.workload.trouble is Trouble.SLOW:
        slowness[0] = setup.workload.severity
    return slowness


def simulate(setup: Setup, probe: Callable[[Master], None] | None = None) -> Outcome:
    """Run it.  ``probe`` is called with the master at every tick, where there is one."""
    run = _Run(setup)
    if run.master is not None:
        run.master.probe = probe
    seconds = run.run()
    lane = None if run.master is None else run.master.scheduler.lanes[0]
    return Outcome(
        run.tally,
        seconds,
        None if lane is None else lane.recalled,
        None if lane is None else lane.redelivered,
    )
