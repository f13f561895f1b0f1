"""Guarded: somebody else's policy, and round-robin from the moment it fails.

Algorithm: every call is passed on.  What the policy raises, a pick of a member that isn't offered,
and a pick of nobody although somebody is, end its service: that is reported once, all that are
offered are offered to round-robin, in the order of their offers, and the call is answered by that.
So no member is lost and no connection waits for a policy that has forgotten somebody.

Cost: O(1) beyond the policy's own.  Right for every policy that isn't ours.  Wrong as a protection
from one that never returns: what blocks a pick blocks the master.

Source: nginx's and HAProxy's hashes, which leave to round-robin what they can't decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from balancer.core.policy.round_robin import RoundRobin

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.core.policy import Policy

__all__ = ["Guarded", "PolicyError"]


class PolicyError(Exception):
    """A policy has broken its contract without raising anything itself."""


@final
class Guarded:
    """A policy and its understudy; ``report`` is told of the failure, once, and must not raise."""

    __slots__ = ("_offered", "_policy", "_report", "uses_key", "uses_load")

    def __init__(self, policy: Policy, report: Callable[[BaseException], None]) -> None:
        self._policy = policy
        self._report = report
        self._offered: dict[int, None] = {}
        self.uses_load = bool(getattr(policy, "uses_load", False))
        self.uses_key = bool(getattr(policy, "uses_key", False))

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:
        self._offered[member] = None
        try:
            self._policy.offer(member, load, weight)
        except BaseException as error:  # noqa: BLE001 - it is reported
            self._fail(error)

    def withdraw(self, member: int) -> None:
        self._offered.pop(member, None)
        try:
            self._policy.withdraw(member)
        except BaseException as error:  # noqa: BLE001 - it is reported
            self._fail(error)

    def forget(self, member: int) -> None:
        self._offered.pop(member, None)
        try:
            self._policy.forget(member)
        except BaseException as error:  # noqa: BLE001 - it is reported
            self._fail(error)

    def pick(self, key: bytes = b"") -> int | None:
        if not self._offered:
            return None
        try:
            member = self._pick(key)
        except BaseException as error:  # noqa: BLE001 - it is reported
            self._fail(error)
            member = self._pick(key)
        del self._offered[member]
        return member

    def _pick(self, key: bytes) -> int:
        member = self._policy.pick(key)
        if member is None:
            raise PolicyError(f"picked nobody, although {len(self._offered)} are offered")
        if type(member) is not int or member not in self._offered:
            raise PolicyError(f"picked {member!r}, which is not offered")
        return member

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            raise error  # it is the user's, and was not the policy's fault
        self._policy = RoundRobin()
        for member in self._offered:
            self._policy.offer(member)
        self._report(error)

    def __len__(self) -> int:
        return len(self._offered)
