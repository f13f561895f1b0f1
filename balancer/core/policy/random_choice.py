"""Random: each member as often as its weight says, and no memory at all.

Algorithm: one draw by weight among those that are offered.

Cost: O(n) for a pick.  Right where many front doors know nothing of each other: they can't fall
into step, as those that rotate can.  Wrong for few requests: by the time that 100 have been spread
over 10 members, one of them has usually had twice what another has (``p2c`` mends that for the
price of a second draw).

Source: Pingora's default, nginx's ``random``, Envoy's ``RANDOM``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from balancer.core.policy.draw import draw

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RandomChoice"]


@final
class RandomChoice:
    """Draws by weight; ``random`` gives numbers in [0, 1)."""

    __slots__ = ("_random", "_weights")

    uses_load: ClassVar[bool] = False
    uses_key: ClassVar[bool] = False

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._weights: dict[int, float] = {}

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:  # noqa: ARG002
        self._weights[member] = weight

    def withdraw(self, member: int) -> None:
        self._weights.pop(member, None)

    forget = withdraw

    def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
        if not self._weights:
            return None
        member = draw(self._weights, self._random())
        del self._weights[member]
        return member

    def __len__(self) -> int:
        return len(self._weights)
