"""The policies for upstreams by name.

Which one, and what its key is made of, is ``settings.policy``'s; the policy sees keys only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.core.policy.ewma import Ewma
from balancer.core.policy.first import First
from balancer.core.policy.least_connections import LeastConnections
from balancer.core.policy.p2c import P2C
from balancer.core.policy.random_choice import RandomChoice
from balancer.core.policy.rendezvous import Rendezvous
from balancer.core.policy.smooth_weighted import SmoothWeighted

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.core.policy import Policy
    from balancer.settings.policy import PolicyChoice

__all__ = ["UPSTREAM_POLICIES", "make_policy"]

UPSTREAM_POLICIES: dict[str, Callable[[Callable[[], float], Callable[[int], bytes]], Policy]] = {
    "round-robin": lambda _random, _name_of: SmoothWeighted(),
    "least-connections": lambda _random, _name_of: LeastConnections(),
    "p2c": lambda random, _: P2C(random),
    "random": lambda random, _: RandomChoice(random),
    "hash": lambda _, name_of: Rendezvous(name_of),
    "ewma": lambda _random, _name_of: Ewma(),
    "first": lambda _random, _name_of: First(),
}
"""What makes each policy, from a source of numbers in [0, 1) and the members' names."""


def make_policy(
    choice: PolicyChoice, random: Callable[[], float], name_of: Callable[[int], bytes]
) -> Policy:
    """The policy that was chosen.

    Args:
        choice: From ``parse_policy``.
        random: A source of random numbers in [0, 1).
        name_of: The address of an endpoint as text, which is the same on every machine.
    """
    return UPSTREAM_POLICIES[choice.name](random, name_of)
