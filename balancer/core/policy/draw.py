"""Drawing lots by weight: what the policies that leave things to chance have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["draw"]


def draw(weights: Mapping[int, float], random: float) -> int:
    """One of the members (at least one), in proportion to the weights.

    Args:
        weights: By member; each above 0.
        random: A random number in [0, 1).
    """
    left = random * sum(weights.values())
    member = -1
    for member, weight in weights.items():  # noqa: B007 (the last one, where rounding has left a rest)
        left -= weight
        if left < 0:
            break
    return member
