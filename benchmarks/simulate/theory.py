"""What queueing theory says, to hold the simulation against.

``load`` is the share of their time that servers work, from 0 to 1; times are in the unit of the
mean service time that is passed in.

Sources: L. Kleinrock, "Queueing Systems" I (1975), for M/M/1 and M/M/k; M. Mitzenmacher, "The Power
of Two Choices in Randomized Load Balancing" (2001), and N. Vvedenskaya, R. Dobrushin and F.
Karpelevich (1996) for the supermarket model; G. Gonnet (1981) for the fullest of n bins.
"""

from __future__ import annotations

import math
from heapq import heapreplace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "bins",
    "erlang_c",
    "first_come_waits",
    "fullest_bin",
    "jsq_of_two_wait",
    "mm1_wait",
    "mmk_wait",
    "mmk_wait_exceeds",
    "supermarket",
    "supermarket_wait",
]


def mm1_wait(load: float, service: float = 1.0) -> float:
    """Mean time in the queue of M/M/1, without the service."""
    return load / (1 - load) * service


def erlang_c(servers: int, load: float) -> float:
    """The probability that somebody who comes to M/M/k has to wait."""
    offered = servers * load
    # The recurrence of Erlang B, which doesn't overflow as factorials do.
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    return blocked / (1 - load * (1 - blocked))


def mmk_wait(servers: int, load: float, service: float = 1.0) -> float:
    """Mean time in the one queue of M/M/k, first come first served, without the service."""
    return erlang_c(servers, load) * service / (servers * (1 - load))


def mmk_wait_exceeds(servers: int, load: float, seconds: float, service: float = 1.0) -> float:
    """The probability that somebody waits longer than that in M/M/k."""
    return erlang_c(servers, load) * math.exp(-servers * (1 - load) * seconds / service)


def first_come_waits(
    servers: int, jobs: Iterable[tuple[float, float]]
) -> Iterator[float]:  # J. Kiefer and J. Wolfowitz (1955)
    """The waits of jobs (arrival, service) in one queue of k servers, exactly, one by one."""
    free_at = [0.0] * servers
    for arrival, service in jobs:
        start = max(arrival, free_at[0])
        heapreplace(free_at, start + service)
        yield start - arrival


def bins(choices: int, levels: int = 12, steps: int = 2000) -> list[float]:
    """n balls into n bins, each into the emptiest of d: the share of bins with at least 1, 2, … .

    The limit of large n: ``s[i]' = s[i-1]^d - s[i]^d`` while time goes from 0 to 1.  With one
    choice it is Poisson's distribution.
    """
    shares = [1.0] + [0.0] * levels
    step = 1 / steps
    for _ in range(steps):
        powers = [share**choices for share in shares]
        # the midpoint rule
        middle = [1.0]
        middle += [shares[i] + step / 2 * (powers[i - 1] - powers[i]) for i in range(1, levels + 1)]
        powers = [share**choices for share in middle]
        for i in range(1, levels + 1):
            shares[i] += step * (powers[i - 1] - powers[i])
    return shares[1:]


def fullest_bin(choices: int, count: int) -> float:
    """About how many balls the fullest of n bins has, after n balls.

    The expected number of levels that are reached by at least one bin, from ``bins``.  It grows
    with ln n / ln ln n for one choice, and with ln ln n / ln d for d.
    """
    return sum(1 - math.exp(-count * share) for share in bins(choices))


def supermarket(choices: int, load: float, levels: int) -> list[float]:
    """The share of servers with at least 1, 2, … jobs, each having joined the shortest of d queues.

    The limit of many servers: ``load ^ ((d^i - 1) / (d - 1))``.
    """
    if choices == 1:
        return [load**level for level in range(1, levels + 1)]
    return [load ** ((choices**i - 1) / (choices - 1)) for i in range(1, levels + 1)]


def supermarket_wait(choices: int, load: float, service: float = 1.0) -> float:
    """Mean time in the queue of the supermarket model, without the service (Little's law)."""
    jobs = sum(supermarket(choices, load, 200 if choices == 1 else 12))
    return (jobs / load - 1) * service


_GAP = 12
"""Two queues of which each joins the shorter hardly ever differ by more."""


def jsq_of_two_wait(load: float, service: float = 1.0) -> float:
    """Mean time in the queue where each joins the shorter of two (J. Kingman 1961).

    There is no simple formula: the balance equations are solved by iteration, for queues as long as
    one in 10^9 arrivals finds.  Between the wait of M/M/2 and that of two M/M/1 chosen at random.
    """
    arrivals = 2 * load
    most = math.ceil(math.log(1e-9) / math.log(load) / 2) + 3
    # By symmetry only states (shorter, longer) are needed.
    flow: dict[tuple[int, int], list[tuple[tuple[int, int], float]]] = {}
    leaving: dict[tuple[int, int], float] = {}
    for low in range(most):
        for high in range(low, min(low + _GAP, most)):
            for target, rate in _moves(low, high, arrivals, most):
                flow.setdefault(target, []).append(((low, high), rate))
                leaving[low, high] = leaving.get((low, high), 0.0) + rate
    share = {state: load ** sum(state) for state in leaving}
    # Against the arrivals, then with them, so that mass moves both ways within one sweep.
    order = sorted(leaving, key=sum)
    jobs, before = 0.0, -1.0
    while abs(jobs - before) > 1e-8 * jobs:
        for state in (*order, *reversed(order)):
            share[state] = sum(share[a] * rate for a, rate in flow[state]) / leaving[state]
        before = jobs
        jobs = sum((low + high) * each for (low, high), each in share.items())
        jobs /= sum(share.values())
    return (jobs / arrivals - 1) * service


def _moves(
    low: int, high: int, arrivals: float, most: int
) -> Iterator[tuple[tuple[int, int], float]]:
    if max(low + 1, high) < most:
        yield (min(low + 1, high), max(low + 1, high)), arrivals
    if low and high - low + 1 < _GAP:
        yield (low - 1, high), 1.0
    if high:
        yield (min(low, high - 1), max(low, high - 1)), 1.0
