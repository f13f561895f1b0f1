"""Power of two choices: draw two members, take the one that is doing less.

Algorithm: two different members are drawn by weight, and the one with the lower load / weight is
picked; of two that are equal, the one that was drawn first, so an idle system is spread by weight.
The most loaded of all can't be picked while there is another.

Cost: O(1) for a pick (``lots``).  Right for several front doors, and for loads that are a moment
old: where all that look for the least loaded find the same one and trample it, two draws at random
spread, and the longest queue still grows with log log n only.  Wrong for very few requests at a
time (``least-connections`` is exact), and as blind as that to a member that fails fast.

Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001); HAProxy's
default ``random(2)``, nginx's ``random two``, Envoy's ``LEAST_REQUEST``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from balancer.core.policy.lots import Lots

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["P2C"]


@final
class P2C:
    """The better of two draws; ``random`` gives numbers in [0, 1)."""

    __slots__ = ("_costs", "_lots")

    uses_load: ClassVar[bool] = True
    uses_key: ClassVar[bool] = False

    def __init__(self, random: Callable[[], float]) -> None:
        self._lots = Lots(random)
        self._costs: dict[int, float] = {}  # of those that are offered

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:
        self._lots.put(member, weight)
        self._costs[member] = load / weight

    def withdraw(self, member: int) -> None:
        if self._costs.pop(member, None) is not None:
            self._lots.remove(member)

    forget = withdraw

    def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
        lots, costs = self._lots, self._costs
        if not costs:
            return None
        member = lots.draw()
        if len(costs) > 1:
            other = lots.draw_another(member)
            if costs[other] < costs[member]:
                member = other
        lots.remove(member)
        del costs[member]
        return member

    def __len__(self) -> int:
        return len(self._costs)
