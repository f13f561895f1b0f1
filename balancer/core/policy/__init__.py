"""Scheduling policies: who of those that can take work takes the next piece.

A policy knows *members* (worker ids, or indexes of upstream endpoints) and only those that are
offered: whoever has no credit, is full, stalled, ejected or draining is not its business.  It
chooses and remembers what its algorithm needs; it never learns what a connection is.

One piece of work goes through three calls::

    policy.offer(member, load, weight)    the member can take work now (again)
    policy.pick(key)                      chooses one, and takes it out
    policy.offer(member, load + 1, ...)   the caller, if the member can take more

so a pick costs what the algorithm costs, at most O(log n) here, and the member that was picked
last is always the last to have been offered: Node's free queue is this protocol with a FIFO.
"""

from __future__ import annotations

from typing import Protocol

from balancer.core.policy.least_connections import LeastConnections
from balancer.core.policy.round_robin import RoundRobin
from balancer.core.policy.table import (
    POLICIES,
    TABLE,
    UPSTREAM_POLICIES,
    Maker,
    Names,
    Random,
    make_policy,
)

__all__ = [
    "KERNEL_POLICIES",
    "POLICIES",
    "TABLE",
    "UPSTREAM_POLICIES",
    "LeastConnections",
    "Maker",
    "Names",
    "Policy",
    "Random",
    "RoundRobin",
    "make_policy",
]


class Policy(Protocol):
    """Chooses among the members that are offered.

    ``uses_load`` says that the choice depends on ``load``: the caller then keeps it fresh with
    ``offer``.  ``uses_key`` says that it depends on the key of the work (a hash of the client's
    address, say), which the caller need not make otherwise.  Both are false unless a policy that
    is derived from this class says something else.
    """

    @property
    def uses_load(self) -> bool:
        return False

    @property
    def uses_key(self) -> bool:
        return False

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:
        """A member can take work, or its load or weight changed; new ones join at the tail.

        ``load`` is what the member is doing now, in connections or requests; ``weight`` is its
        share: a whole number, or less than that while it starts slowly, but always above 0.
        """

    def withdraw(self, member: int) -> None:
        """A member can't take work for now; unknown ones are ignored."""

    def forget(self, member: int) -> None:
        """A member is gone for good, and so is what the policy remembered of it."""

    def pick(self, key: bytes = b"") -> int | None:
        """Choose a member and withdraw it; None when nobody is offered."""

    def __len__(self) -> int:
        """How many members are offered."""


KERNEL_POLICIES = frozenset({"shared", "reuseport"})
"""The policies where the kernel decides, because the workers accept for themselves."""
