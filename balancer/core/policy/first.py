"""First: the first of those that can take work, in the order of the command line.

Algorithm: the lowest number among those that are offered.  A member gets work only while all before
it are full (``max``) or away.

Cost: O(n) for a pick.  Right to keep the others idle, so that they can be switched off or are
there for peaks, and for a main server with spares; give each a ``max``.  Wrong for everything that
balancing is for: without a ``max`` the first does it all.

Source: HAProxy's and Caddy's ``first``.
"""

from __future__ import annotations

from typing import ClassVar, final

__all__ = ["First"]


@final
class First:
    """A set of numbers of which the lowest is picked."""

    __slots__ = ("_offered",)

    uses_load: ClassVar[bool] = False
    uses_key: ClassVar[bool] = False

    def __init__(self) -> None:
        self._offered: set[int] = set()

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:  # noqa: ARG002
        self._offered.add(member)

    def withdraw(self, member: int) -> None:
        self._offered.discard(member)

    forget = withdraw

    def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
        if not self._offered:
            return None
        member = min(self._offered)
        self._offered.remove(member)
        return member

    def __len__(self) -> int:
        return len(self._offered)
