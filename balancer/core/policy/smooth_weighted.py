"""Smooth weighted round-robin: in turn, in proportion to the weights, and well mixed.

Algorithm: every member has an account.  A pick pays each of the offered its weight, takes the one
with the highest balance, and charges it all that was paid.  The balances add up to nothing, so over
one period (as many picks as the weights add up to) each member is picked as often as its weight
says, and at no moment has one been picked more than once ahead of its share: 5, 1 and 1 give
``a a b a c a a`` and not five in a row.  With equal weights it is strict rotation.

Cost: O(n) for a pick; that is less than a heap costs for the few endpoints that there are.  Right
as a default for servers that are alike or whose strength is known.  Wrong where requests differ
much in length (it counts picks, not what came of them) and for many front doors that begin at the
same moment: all start with the same member.  Who can't be offered for a while keeps its balance, as
in nginx, so it is neither owed nor charged for what it missed.

Source: nginx's default balancer (commit "Upstream: smooth weighted round-robin balancing", 2012).
"""

from __future__ import annotations

from typing import ClassVar, final

__all__ = ["SmoothWeighted"]


@final
class SmoothWeighted:
    """Accounts by member, which outlive a member's absence but not its end."""

    __slots__ = ("_balance", "_weights")

    uses_load: ClassVar[bool] = False
    uses_key: ClassVar[bool] = False

    def __init__(self) -> None:
        self._weights: dict[int, float] = {}  # of those that are offered
        self._balance: dict[int, float] = {}

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:  # noqa: ARG002
        self._weights[member] = weight
        self._balance.setdefault(member, 0)

    def withdraw(self, member: int) -> None:
        self._weights.pop(member, None)

    def forget(self, member: int) -> None:
        self._weights.pop(member, None)
        self._balance.pop(member, None)

    def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
        balance = self._balance
        best, highest, paid = None, 0.0, 0.0
        for member, weight in self._weights.items():
            paid += weight
            balance[member] = now = balance[member] + weight
            # Among equals the first: the one that was offered, and so picked, longest ago.
            if best is None or now > highest:
                best, highest = member, now
        if best is not None:
            balance[best] = highest - paid
            del self._weights[best]
        return best

    def __len__(self) -> int:
        return len(self._weights)
