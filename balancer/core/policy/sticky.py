"""What a policy offers that would rather have work wait for its member than go to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from balancer.core.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Sticky"]


@runtime_checkable
class Sticky(Policy, Protocol):
    """A policy with an opinion of members that aren't offered: the same key, the same member.

    ``pick`` alone would send a key elsewhere whenever its member happens to be busy.  With
    ``prefer`` the caller knows whose it is, and can let it wait (``core.waiting``).
    """

    def prefer(self, key: bytes, weights: Mapping[int, float]) -> Iterator[int]:
        """These members, offered or not, in the key's own order; none where there is no key.

        ``weights`` are by member, each above 0.  Members that are named here are remembered, as
        those that were offered are, until ``forget``.
        """
