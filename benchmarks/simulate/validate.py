"""The simulation against theory: ``python -m benchmarks simulate --validate``.

The scheduler is the real one, stripped of what theory doesn't know: nothing takes any time but
work, nobody waits for others (``lead=None``) and nothing is recalled.  With an ack *after* the work
a worker has one connection at a time, and all others wait in the master's one queue: M/M/k.  With
an endless window every connection goes to its worker at once and waits there: then it is the policy
that decides how long.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, final

from balancer.core.policy.least_connections import LeastConnections
from balancer.core.policy.p2c import P2C
from balancer.core.policy.random_choice import RandomChoice
from balancer.core.policy.round_robin import RoundRobin
from benchmarks.simulate import theory
from benchmarks.simulate.estimate import Estimate, estimate
from benchmarks.simulate.run import simulate
from benchmarks.simulate.setup import BARE, Setup
from benchmarks.study.service import Exponential
from benchmarks.study.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from balancer.core.policy import Policy
    from benchmarks.simulate.master import Master
    from benchmarks.simulate.setup import Maker

    Random = Callable[[], float]
    Names = Callable[[int], bytes]

__all__ = ["SIZES", "Row", "fullest", "jobs", "mean_wait", "queue", "rows", "tails"]


def round_robin(_random: Random, _names: Names) -> Policy:
    return RoundRobin()


def least_connections(_random: Random, _names: Names) -> Policy:
    return LeastConnections()


def p2c(random: Random, _names: Names) -> Policy:
    return P2C(random)


def at_random(random: Random, _names: Names) -> Policy:
    return RandomChoice(random)


MARKOV = Workload("theory", "exponential work of mean 1, and nothing else", Exponential(1.0))
ENDLESS = 1 << 40

SIZES = {
    (1, 0.5): 400_000, (1, 0.7): 1_200_000, (1, 0.9): 6_000_000,
    (2, 0.5): 600_000, (2, 0.7): 1_200_000, (2, 0.9): 6_000_000,
    (4, 0.5): 1_000_000, (4, 0.7): 1_500_000, (4, 0.9): 6_000_000,
    (16, 0.5): 6_000_000, (16, 0.7): 5_000_000, (16, 0.9): 6_000_000,
}  # fmt: skip
"""Connections for M/M/k by k and load: so many that 2 % is two to three standard errors or more."""


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One figure of theory and what was simulated."""

    what: str
    theory: float
    simulated: float
    allowed: float
    """The relative error that passes."""
    error: float | None = None
    """Half of the 95 % confidence interval, where it is known."""

    @property
    def off(self) -> float:
        """The relative error."""
        return self.simulated / self.theory - 1

    @property
    def passed(self) -> bool:
        return abs(self.off) <= self.allowed


def queue(servers: int, load: float, count: int, seed: int, make: Maker = round_robin) -> Setup:
    """A system with one queue in front of all servers."""
    return Setup(
        MARKOV, servers, servers * load, count, make, seed=seed, costs=BARE, limit=ENDLESS,
        recall=None, lead=None, warm_up=0.0, keep=True,
    )  # fmt: skip


def queues(servers: int, load: float, count: int, seed: int, make: Maker) -> Setup:
    """A system with a queue at every server."""
    return Setup(
        MARKOV, servers, servers * load, count, make, seed=seed, costs=BARE, limit=ENDLESS,
        recall=None, lead=None, warm_up=0.0, keep=True, window=ENDLESS,
    )  # fmt: skip


def jobs(setup: Setup) -> Iterator[tuple[float, float]]:
    """What came in a run: gap before it and work of every request."""
    times, work = random.Random(f"{setup.seed} times"), random.Random(f"{setup.seed} work")
    for _ in range(setup.count):
        yield times.expovariate(setup.rate), setup.workload.service.draw(work)


def mean_wait(servers: int, load: float, count: int, seed: int = 1) -> Estimate:
    """Of M/M/k, simulated."""
    setup = queue(servers, load, count, seed)
    waits = simulate(setup).tally.waits
    assert waits is not None
    return estimate(waits, jobs(setup), servers, load)


def fullest(make: Maker, bins: int, trials: int, seed: int = 1) -> float:
    """n balls into n bins by a policy: how many the fullest has, on average."""
    draws = random.Random(seed).random
    return fmean(_fullest(make(draws, lambda _: b""), bins) for _ in range(trials))


def _fullest(policy: Policy, bins: int) -> int:
    loads = [0] * bins
    for each in range(bins):
        policy.offer(each, 0)
    for _ in range(bins):
        member = policy.pick()
        assert member is not None
        loads[member] += 1
        policy.offer(member, loads[member])
    return max(loads)


def tails(
    make: Maker, servers: int, load: float, count: int, levels: int, seed: int = 1
) -> list[float]:
    """The share of servers with at least 1, 2, … jobs, over the second half of a run."""
    seen: Counter[int] = Counter()
    half = count / servers / load / 2

    def look(master: Master) -> None:
        if half < master.now < 1.98 * half:  # the end is when nobody comes any more
            seen.update(len(b.unacked) for b in master.scheduler.roster.books.values())

    simulate(queues(servers, load, count, seed, make), look)
    whole = sum(seen.values())
    return [
        sum(times for jobs, times in seen.items() if jobs >= level) / whole
        for level in range(1, levels + 1)
    ]


def rows(sizes: dict[tuple[int, float], int] = SIZES) -> Iterator[Row]:
    """Every figure, as it becomes known."""
    for (servers, load), count in sizes.items():
        found = mean_wait(servers, load, count)
        yield Row(
            f"M/M/{servers} at {load:.0%}: mean wait", theory.mmk_wait(servers, load), found.mean,
            0.02, found.error,
        )  # fmt: skip
    yield from _waiting_times()
    yield from _bins()
    yield from _supermarket()
    yield from _shorter_of_two()


def _waiting_times() -> Iterator[Row]:
    waits = simulate(queue(4, 0.7, 2_000_000, 1)).tally.waits
    assert waits is not None
    for seconds in (0.0, 1.0, 2.0, 4.0):
        longer = sum(wait > seconds for wait in waits) / len(waits)
        known = theory.mmk_wait_exceeds(4, 0.7, seconds)
        yield Row(f"M/M/4 at 70%: waits longer than {seconds:g}", known, longer, 0.1)


def _bins() -> Iterator[Row]:
    for count, trials in ((100, 400), (1000, 40), (4000, 10)):
        for name, make, choices in (("random", at_random, 1), ("p2c", p2c, 2)):
            yield Row(
                f"{name}, {count} balls into {count} bins: the fullest",
                theory.fullest_bin(choices, count), fullest(make, count, trials), 0.1,
            )  # fmt: skip


def _supermarket() -> Iterator[Row]:
    # Nearer to 1, long queues take longer to form than a run lasts.
    cases = (("random", at_random, 1, 0.7, 5), ("p2c", p2c, 2, 0.9, 4))
    for name, make, choices, load, levels in cases:
        known = theory.supermarket(choices, load, levels)
        found = tails(make, 1000, load, 300_000, levels)
        for level in range(levels):
            yield Row(
                f"{name}, 1,000 queues at {load:.0%}: share with {level + 1} or more",
                known[level], found[level], 0.05,
            )  # fmt: skip


def _shorter_of_two() -> Iterator[Row]:
    for load in (0.5, 0.7, 0.9):
        waits = simulate(queues(2, load, 1_500_000, 1, least_connections)).tally.waits
        assert waits is not None
        known = theory.jsq_of_two_wait(load)
        yield Row(
            f"least-connections, 2 queues at {load:.0%}: mean wait", known, fmean(waits), 0.03
        )
