"""Random: each member as often as its weight says, and no memory at all.

Algorithm: one draw by weight among those that are offered.

Cost: O(1) for a pick (``lots``).  Right where many front doors know nothing of each other: they
can't fall into step, as those that rotate can.  Wrong for few requests: by the time that 100 have
been spread over 10 members, one of them has usually had twice what another has (``p2c`` mends that
for the price of a second draw).

Source: Pingora's default, nginx's ``random``, Envoy's ``RANDOM``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from balancer.core.policy.lots import Lots

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RandomChoice"]


@final
class RandomChoice:
    """Draws by weight; ``random`` gives numbers in [0, 1)."""

    __slots__ = ("_lots",)

    uses_load: ClassVar[bool] = False
    uses_key: ClassVar[bool] = False

    def __init__(self, random: Callable[[], float]) -> None:
        self._lots = Lots(random)

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:  # noqa: ARG002
        self._lots.put(member, weight)

    def withdraw(self, member: int) -> None:
        if member in self._lots:
            self._lots.remove(member)

    forget = withdraw

    def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
        lots = self._lots
        if not lots:
            return None
        member = lots.draw()
        lots.remove(member)
        return member

    def __len__(self) -> int:
        return len(self._lots)
