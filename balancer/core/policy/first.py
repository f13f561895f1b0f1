"""First: the first of those that can take work, and the next only where it can't.

Algorithm: the lowest number among those that are offered: for upstreams the order of the command
line, for workers the one that has been there longest.  A member gets work only while all before it
are full (an upstream's ``max``, ``--worker-connections``), busy or away.

Cost: O(log n) for a pick.  Right to keep the others idle, so that they can be switched off or are
there for peaks, for a main server with spares, and for few workers with warm caches; give each a
bound.  Wrong for everything that balancing is for: without a bound the first does it all, and it is
the one that dies of it.

Source: HAProxy's and Caddy's ``first``.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import ClassVar, final

__all__ = ["First"]


@final
class First:
    """A heap of numbers, each once in it; those that were withdrawn go when they surface."""

    __slots__ = ("_heap", "_heaped", "_offered")

    uses_load: ClassVar[bool] = False
    uses_key: ClassVar[bool] = False

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._heaped: set[int] = set()
        self._offered: set[int] = set()

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:  # noqa: ARG002
        self._offered.add(member)
        if member not in self._heaped:
            self._heaped.add(member)
            heappush(self._heap, member)
            # Those that are gone and never surface would grow the heap for ever.
            if len(self._heap) > 2 * len(self._offered) + 64:
                self._heap = sorted(self._offered)  # which is a heap
                self._heaped = set(self._heap)

    def withdraw(self, member: int) -> None:
        self._offered.discard(member)

    forget = withdraw

    def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
        offered = self._offered
        while offered:
            member = heappop(self._heap)
            self._heaped.remove(member)
            if member in offered:
                offered.remove(member)
                return member
        return None

    def __len__(self) -> int:
        return len(self._offered)
