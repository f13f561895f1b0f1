"""Round-robin over the free members: Node's default, ``SCHED_RR``.

Algorithm: a FIFO of the free.  Whoever has been free longest is picked; whoever becomes free joins
the tail.  On an idle system this is strict rotation in the order in which members became free;
under load it is "whoever is ready first", so it never waits for a busy member.

Cost: O(1).  Right for workers that are alike and connections that are short, and as a default: it
needs no measurement and can't be fooled by a stale one.  Wrong where connections live long and
differ: it counts picks, not what came of them (``least-connections`` does).

Source: Node's ``lib/internal/cluster/round_robin_handle.js``, the order of its ``free`` map.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, final

__all__ = ["RoundRobin"]


@final
class RoundRobin:
    """A FIFO of the free members."""

    # An OrderedDict: ``next(iter(dict))`` walks over every entry deleted before it.
    __slots__ = ("_free",)

    uses_load: ClassVar[bool] = False
    uses_key: ClassVar[bool] = False

    def __init__(self) -> None:
        self._free: OrderedDict[int, None] = OrderedDict()

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:  # noqa: ARG002 (protocol)
        self._free[member] = None

    def withdraw(self, member: int) -> None:
        self._free.pop(member, None)

    forget = withdraw

    def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
        return self._free.popitem(last=False)[0] if self._free else None

    def __len__(self) -> int:
        return len(self._free)
