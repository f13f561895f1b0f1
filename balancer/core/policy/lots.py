"""Drawing lots by weight: what the policies that leave things to chance have in common.

Every member has a strip of the same length as its group's others: of the power of two that is its
weight or just above it.  All strips together are one line.  A draw is a point on it, and has found
a member if it lies within the first ``weight`` of a strip; else it is drawn again, which happens
less than half of the time, and never where all weights are 1.  Lengths are powers of two and their
sums exact, so that nothing drifts.

Cost: O(1) for everything, as long as weights are of a few orders of magnitude.

Source: Y. Matias, J. Vitter and W. Ni, "Dynamic Generation of Discrete Random Variates" (1993).
"""

from __future__ import annotations

from math import frexp
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lots"]


@final
class _Group:
    """Members whose strips have the same length; who goes leaves its place to the last."""

    __slots__ = ("length", "members", "places", "weights")

    def __init__(self, length: float) -> None:
        self.length = length
        self.members: list[int] = []
        self.weights: list[float] = []
        self.places: dict[int, int] = {}


@final
class Lots:
    """Members, each with as many lots as its weight; ``random`` gives numbers in [0, 1)."""

    __slots__ = ("_group_of", "_groups", "_random", "_total")

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._groups: dict[int, _Group] = {}  # by the exponent of their length
        self._group_of: dict[int, _Group] = {}
        self._total: float = 0

    def __len__(self) -> int:
        return len(self._group_of)

    def put(self, member: int, weight: float) -> None:
        """A member takes part, or with another weight, above 0."""
        known = self._group_of.get(member)
        if known is not None:
            if known.weights[known.places[member]] == weight:
                return
            self.remove(member)
        mantissa, exponent = frexp(weight)
        if mantissa == 0.5:
            exponent -= 1
        group = self._groups.get(exponent)
        if group is None:
            group = self._groups[exponent] = _Group(2.0**exponent)
        group.places[member] = len(group.members)
        group.members.append(member)
        group.weights.append(weight)
        self._group_of[member] = group
        self._total += group.length

    def remove(self, member: int) -> float:
        """A member that takes part does so no more; its weight."""
        group = self._group_of.pop(member)
        place = group.places.pop(member)
        weight = group.weights[place]
        last, its_weight = group.members.pop(), group.weights.pop()
        if last != member:
            group.members[place], group.weights[place] = last, its_weight
            group.places[last] = place
        self._total -= group.length
        return weight

    def draw(self) -> int:
        """One of the members, of which there must be any."""
        while True:
            point = self._random() * self._total
            for group in self._groups.values():
                here = len(group.members) * group.length
                if point < here:
                    place = int(point / group.length)
                    if point - place * group.length < group.weights[place]:
                        return group.members[place]
                    break
                point -= here

    def draw_another(self, member: int) -> int:
        """One of those beside this one; there must be two."""
        other = self.draw()
        if other == member:  # else it is as if it had not been there
            weight = self.remove(member)
            other = self.draw()
            self.put(member, weight)
        return other

    def __contains__(self, member: int) -> bool:
        return member in self._group_of
