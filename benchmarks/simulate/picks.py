"""What a pick costs, by policy and number of members: the policy alone, without the scheduler.

One piece of work is what the scheduler does for a connection: a pick, and the offer by which who
was picked comes back, with a load that has changed.  Every member has work already, of differing
amounts, or a policy that goes by load would have nothing to compare.
"""

from __future__ import annotations

from random import Random
from statistics import median
from time import process_time
from typing import TYPE_CHECKING

from benchmarks.simulate.subjects import maker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balancer.core.policy import Policy

__all__ = ["MEMBERS", "cost", "costs"]

MEMBERS = (2, 4, 10, 30, 100, 300, 1000, 3000, 10_000)
_SECONDS = 0.05
"""Of CPU, of one of the repetitions."""
_REPETITIONS = 5
_KEYS = 1000


def costs(policy: str, members: tuple[int, ...] = MEMBERS) -> Iterator[tuple[int, float]]:
    """(members, seconds) for a policy of the master's; nothing where the kernel decides."""
    make = maker(policy)
    if make is None:
        return
    for count in members:
        draws = Random(1)
        yield count, cost(make(draws.random, lambda member: b"%d" % member), count, draws)


def cost(policy: Policy, members: int, draws: Random, seconds: float = _SECONDS) -> float:
    """Seconds of CPU of one pick and the offer that follows."""
    loads = [draws.randrange(10) for _ in range(members)]
    for member, load in enumerate(loads):
        policy.offer(member, load)
    keys = [b"%d" % draws.randrange(_KEYS) for _ in range(_KEYS)] if policy.uses_key else [b""]
    # As many as take about so long; the first ones are the warm-up.
    count = 16
    while (took := _time(policy, loads, keys, count)) < seconds / 4 and count < 1 << 20:
        count *= 2
    count = max(1, int(count * seconds / max(took, 1e-9)))
    return median(_time(policy, loads, keys, count) for _ in range(_REPETITIONS)) / count


def _time(policy: Policy, loads: list[int], keys: list[bytes], count: int) -> float:
    pick, offer, size = policy.pick, policy.offer, len(keys)
    began = process_time()
    for number in range(count):
        member = pick(keys[number % size])
        assert member is not None
        # Whom a policy by load picks has little: it ends what it has while others go on.
        load = loads[member] = (loads[member] + 1) % 10
        offer(member, load)
    return process_time() - began
