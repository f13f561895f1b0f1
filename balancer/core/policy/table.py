"""Every policy, one line each: its name, whose connections or requests it is for, what makes it.

A new policy is a class in a module of its own, whose docstring has the parts that all have
(Algorithm, Cost, Right, Wrong, Source), and a line here.  Its name stands once more in
``settings.policy``, which may not import this, and the tests will say where it is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag, auto
from typing import TYPE_CHECKING, TypeAlias, final

from balancer.core.policy.ewma import Ewma
from balancer.core.policy.first import First
from balancer.core.policy.least_connections import LeastConnections
from balancer.core.policy.p2c import P2C
from balancer.core.policy.random_choice import RandomChoice
from balancer.core.policy.rendezvous import Rendezvous
from balancer.core.policy.round_robin import RoundRobin
from balancer.core.policy.smooth_weighted import SmoothWeighted
from balancer.core.policy.updown import UpDown
from balancer.core.policy.weighted import Weighted

if TYPE_CHECKING:
    from balancer.core.policy import Policy
    from balancer.settings.policy import PolicyChoice

__all__ = [
    "POLICIES",
    "TABLE",
    "UPSTREAM_POLICIES",
    "Maker",
    "Names",
    "Random",
    "Row",
    "Use",
    "make_policy",
]

Random: TypeAlias = Callable[[], float]
"""A source of numbers in [0, 1)."""
Names: TypeAlias = Callable[[int], bytes]
"""What a member is known as wherever it is hashed: an address, or a worker's slot."""
Maker: TypeAlias = "Callable[[Random, Names], Policy]"


class Use(Flag):
    """What is given to members."""

    WORKERS = auto()  # connections, to workers: ``--policy``
    UPSTREAMS = auto()  # requests, to endpoints: ``--upstream-policy``


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One policy."""

    name: str
    use: Use
    make: Maker


WORKERS, UPSTREAMS = Use.WORKERS, Use.UPSTREAMS

TABLE = (
    Row("round-robin", WORKERS, lambda _random, _names: RoundRobin()),
    Row("round-robin", UPSTREAMS, lambda _random, _names: SmoothWeighted()),
    Row("least-connections", WORKERS | UPSTREAMS, lambda _random, _names: LeastConnections()),
    Row("p2c", WORKERS | UPSTREAMS, lambda random, _names: P2C(random)),
    Row("updown", WORKERS, lambda _random, _names: UpDown()),
    Row("random", WORKERS | UPSTREAMS, lambda random, _names: RandomChoice(random)),
    Row("weighted", WORKERS, lambda _random, _names: Weighted()),
    Row("source-hash", WORKERS, lambda _random, names: Rendezvous(names)),
    Row("hash", UPSTREAMS, lambda _random, names: Rendezvous(names)),
    Row("ewma", UPSTREAMS, lambda _random, _names: Ewma()),
    Row("first", WORKERS | UPSTREAMS, lambda _random, _names: First()),
)

POLICIES: dict[str, Maker] = {row.name: row.make for row in TABLE if row.use & WORKERS}
"""The policies that the master decides by, by the name they have on the command line."""

UPSTREAM_POLICIES: dict[str, Maker] = {row.name: row.make for row in TABLE if row.use & UPSTREAMS}
"""Those for upstreams, by the first part of their text."""


def make_policy(choice: PolicyChoice, random: Random, name_of: Names) -> Policy:
    """The policy for upstreams that was chosen.

    Args:
        choice: From ``parse_policy``.
        random: A source of random numbers in [0, 1).
        name_of: The address of an endpoint as text, which is the same on every machine.
    """
    return UPSTREAM_POLICIES[choice.name](random, name_of)
