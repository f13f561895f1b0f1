"""Every policy of the table, made as the master and the workers make it, but from known numbers."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from balancer.core.policy import POLICIES, TABLE, Policy
from balancer.core.policy.table import Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from balancer.core.policy import Maker

__all__ = ["ALL", "WORKERS", "name_of", "offer_all", "pick", "pick_all", "turn"]


def name_of(member: int) -> bytes:
    return b"10.0.0.%d:8080" % member


def _make(maker: Maker, seed: int = 7) -> Policy:
    return maker(random.Random(seed).random, name_of)


WORKERS: dict[str, Callable[[], Policy]] = {
    name: partial(_make, maker) for name, maker in POLICIES.items()
}
ALL: dict[str, Callable[[], Policy]] = {
    f"{row.name} for {' and '.join(str(use.name).lower() for use in Use if use in row.use)}": (
        partial(_make, row.make)
    )
    for row in TABLE
}


def pick(policy: Policy, key: bytes = b"") -> int:
    member = policy.pick(key)
    assert member is not None
    return member


def pick_all(policy: Policy) -> list[int]:
    order = []
    while (member := policy.pick(b"key")) is not None:
        order.append(member)
    return order


def turn(policy: Policy, weights: dict[int, int], key: bytes = b"") -> int:
    """One pick, with the member back at once."""
    member = pick(policy, key)
    policy.offer(member, 0, weights[member])
    return member


def offer_all(policy: Policy, weights: Iterable[int]) -> dict[int, int]:
    shares = dict(enumerate(weights))
    for member, weight in shares.items():
        policy.offer(member, 0, weight)
    return shares
