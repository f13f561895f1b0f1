"""Weighted: in turn, each as often as its weight says, for any number of members.

Algorithm: time is cut into rounds, and in each a member of weight w has w turns, evenly spaced:
its turn number k is at ``(k + phase) / w`` of the round.  The earliest turn of all that are offered
is next.  Every member's turns lie inside its rounds, so the counts are exact over a round, which
has as many picks as the weights add up to, whatever the weights are; and nothing is added up, so
nothing drifts.  The phases are spread over (0, 1) in the order of joining: with one phase for all,
those of weight 1 would be served in a row, and the heavy ones before and after.

A member that couldn't be offered makes up for what it missed in this round and the last one, so
that workers that are busy for a moment don't lose their share to those that aren't; what it missed
before that is gone, or a worker that was blocked for a second would get everything after it.  A new
member begins where the others are.  Weights that aren't whole numbers are right in the long run.

Cost: O(log n) for a pick.  Right for workers of unequal strength (pinned to unequal cores, or one
that does other things too) with connections that are alike.  Wrong where connections differ in
length: it counts picks, not what came of them (``least-connections`` by weight does).  And no
weight helps while there is a queue: then whoever is free is next, in any order.

Source: C. Waldspurger and W. Weihl, "Stride Scheduling: Deterministic Proportional-Share Resource
Management" (1995), which has the strides 1 / w; Envoy's EDF scheduler.  ``smooth_weighted`` is
nginx's answer, O(n) for a pick.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import ceil
from typing import ClassVar, final

__all__ = ["Weighted"]

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, without their whole part, are spread evenly, however many there are."""

_Entry = tuple[int, float, int]
"""Round, position in it, member."""


@final
class _Turn:
    """A member's next turn: number ``turn``, from 0, of a round."""

    __slots__ = ("phase", "round", "turn", "weight")

    def __init__(self, phase: float, weight: float) -> None:
        self.phase = phase
        self.weight = weight
        self.round = 0
        self.turn: float = 0

    @property
    def position(self) -> float:
        return (self.turn + self.phase) / self.weight

    def begin(self, round_: int, position: float) -> None:
        """The first turn at a moment or after it."""
        self.round, self.turn = round_, max(0, ceil(position * self.weight - self.phase))
        self.carry()

    def carry(self) -> None:
        if self.turn >= self.weight:
            rounds, self.turn = divmod(self.turn, self.weight)
            self.round += int(rounds)


@final
class Weighted:
    """A heap by turns, with lazy deletion; turns outlive a member's absence but not its end."""

    __slots__ = ("_heap", "_joined", "_newest", "_now", "_turns")

    uses_load: ClassVar[bool] = False
    uses_key: ClassVar[bool] = False

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._newest: dict[int, _Entry] = {}  # of those that are offered
        self._turns: dict[int, _Turn] = {}
        self._joined = 0
        self._now = (0, 0.0)  # round and position of the last pick

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:  # noqa: ARG002
        turn = self._turns.get(member)
        if turn is None:
            turn = self._turns[member] = self._join(weight)
        elif turn.weight != weight:
            position = turn.position
            turn.weight = weight
            turn.begin(turn.round, position)
        elif member in self._newest:
            return
        if turn.round < self._now[0] - 1:
            turn.round = self._now[0] - 1
        entry = (turn.round, turn.position, member)
        self._newest[member] = entry
        heappush(self._heap, entry)
        # Stale entries that never surface would grow the heap for ever.
        if len(self._heap) > 2 * len(self._newest) + 64:
            self._heap = list(self._newest.values())
            heapify(self._heap)

    def _join(self, weight: float) -> _Turn:
        turn = _Turn(self._joined * GOLDEN % 1, weight)
        self._joined += 1
        turn.begin(*self._now)
        return turn

    def withdraw(self, member: int) -> None:
        self._newest.pop(member, None)

    def forget(self, member: int) -> None:
        self._newest.pop(member, None)
        self._turns.pop(member, None)

    def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
        heap, newest = self._heap, self._newest
        while newest:
            entry = heappop(heap)
            member = entry[2]
            if newest.get(member) is entry:
                del newest[member]
                if entry > self._now:
                    self._now = entry[:2]
                turn = self._turns[member]
                turn.turn += 1
                turn.carry()
                return member
        return None

    def __len__(self) -> int:
        return len(self._newest)
