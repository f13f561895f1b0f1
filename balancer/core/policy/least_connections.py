"""Least connections: the member that is doing least, in proportion to its weight.

Algorithm: a heap of (load / weight, turn); among equals the one offered first, so an idle system
rotates as round-robin does.  Loads that change re-enter the heap, and what they leave behind is
thrown away when it surfaces.

Cost: O(log n) for a pick or a changed load.  Right for connections of unequal length (WebSockets,
keep-alive clients, downloads).  Wrong when a member fails fast: answering errors at once it always
looks idle and attracts everything (health checks belong beside it); and a new, empty member gets
every connection until it has caught up.

Source: HAProxy's ``leastconn``, which also breaks ties by turn; Envoy's ``exact_balance`` counts at
pick time, as ``offer`` after ``pick`` does here.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import ClassVar, final

__all__ = ["LeastConnections"]


_Entry = tuple[float, int, int]
"""Cost, turn, member."""


@final
class LeastConnections:
    """A heap by load, with lazy deletion: an entry counts only if it is its member's newest."""

    __slots__ = ("_heap", "_newest", "_picked", "_turns")

    uses_load: ClassVar[bool] = True
    uses_key: ClassVar[bool] = False

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._newest: dict[int, _Entry] = {}
        self._turns = count()
        self._picked: _Entry

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:
        cost = load / weight
        known = self._newest.get(member)
        if known is not None and known[0] == cost:
            return
        # A changed load keeps its turn: a measurement must not cost a member its place.
        turn = next(self._turns) if known is None else known[1]
        entry = (cost, turn, member)
        self._newest[member] = entry
        heappush(self._heap, entry)
        # Stale entries that never surface would grow the heap for ever.
        if len(self._heap) > 2 * len(self._newest) + 64:
            self._heap = list(self._newest.values())
            heapify(self._heap)

    def withdraw(self, member: int) -> None:
        self._newest.pop(member, None)

    forget = withdraw

    def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
        heap, newest = self._heap, self._newest
        while heap:
            entry = heappop(heap)
            member = entry[2]
            if newest.get(member) is entry:
                del newest[member]
                self._picked = entry
                return member
        return None

    def put_back(self) -> None:
        """Undo the last ``pick``, which was the last that was done here: it costs no turn."""
        entry = self._picked
        self._newest[entry[2]] = entry
        heappush(self._heap, entry)

    def __len__(self) -> int:
        return len(self._newest)
