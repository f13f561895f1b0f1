"""Up and down: two indexes walk over the members, and the less loaded of the two is next.

Algorithm: the members stand in a row, in the order of joining.  One index walks up it and one walks
down, round and round, and each looks at the next member that is offered.  The less loaded of the
two is picked, and the index at the *other* one moves on, since the one that was picked may still be
lower than all.  Where both are equal the upper index's is picked, and that index moves on: an idle
system rotates.  It is ``p2c`` with two walks in the place of two draws: nobody is passed over by
chance.  Where all begin equal, connections that stay differ by two at most, and a member that is
idle among others is picked before both indexes have come round.

Cost: O(1) for a pick.  Right for very many members, where it is nearly as even as
``least-connections`` and costs as much as ``round-robin``; it needs no random numbers.  Wrong for
members that differ (it knows no weights), and as blind as all that go by loads to a member that
fails fast.

Source: HAProxy's choice of a thread for a connection (``listener_accept`` in ``src/listener.c``,
since 2.0).
"""

from __future__ import annotations

from typing import ClassVar, final

__all__ = ["UpDown"]

BITS = 8
MASK = (1 << BITS) - 1


@final
class UpDown:
    """Places in a row, which outlive a member's absence but not its end."""

    __slots__ = ("_down", "_loads", "_members", "_places", "_row", "_up", "_vacant")

    uses_load: ClassVar[bool] = True
    uses_key: ClassVar[bool] = False

    def __init__(self) -> None:
        self._row = _Row()
        self._loads: dict[int, float] = {}  # by place, of those that are offered
        self._places: dict[int, int] = {}
        self._members: list[int] = []  # by place; at a vacant one, who was there last
        self._vacant: list[int] = []
        self._up = 0
        self._down = -1  # below the lowest is the highest

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:  # noqa: ARG002
        place = self._places.get(member)
        if place is None:
            place = self._places[member] = self._find_place(member)
        if place not in self._loads:
            self._row.add(place)
        self._loads[place] = load

    def withdraw(self, member: int) -> None:
        place = self._places.get(member)
        if place is not None and place in self._loads:
            del self._loads[place]
            self._row.remove(place)

    def forget(self, member: int) -> None:
        self.withdraw(member)
        place = self._places.pop(member, None)
        if place is not None:
            self._vacant.append(place)

    def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
        loads, row = self._loads, self._row
        if not loads:
            return None
        up, down = row.from_below(self._up), row.from_above(self._down)
        if up == down:
            down = row.from_above(down - 1)
        self._up, self._down = up, down
        if loads[up] < loads[down]:
            chosen, self._down = up, down - 1
        else:
            chosen = up if loads[up] == loads[down] else down
            self._up = up + 1
        del loads[chosen]
        row.remove(chosen)
        return self._members[chosen]

    def _find_place(self, member: int) -> int:
        if self._vacant:
            place = self._vacant.pop()
            self._members[place] = member
            return place
        self._members.append(member)
        return len(self._members) - 1

    def __len__(self) -> int:
        return len(self._loads)


@final
class _Row:
    """Which places are taken, as bits: of words, and of which words aren't empty.

    Finding the next one costs two looks at a word, and at a number that has a bit for every 256
    members.  The row has no ends; it must not be empty when it is searched.
    """

    __slots__ = ("_used", "_words")

    def __init__(self) -> None:
        self._words: list[int] = []
        self._used = 0

    def add(self, place: int) -> None:
        index = place >> BITS
        while len(self._words) <= index:
            self._words.append(0)
        self._words[index] |= 1 << (place & MASK)
        self._used |= 1 << index

    def remove(self, place: int) -> None:
        """Free a place that is taken."""
        index = place >> BITS
        self._words[index] ^= 1 << (place & MASK)
        if not self._words[index]:
            self._used ^= 1 << index

    def from_below(self, place: int) -> int:
        """The lowest that is taken at a place (0 or more) or above it, and else of all."""
        index = place >> BITS
        if index < len(self._words):
            here = self._words[index] >> (place & MASK)
            if here:
                return place + _lowest(here)
        above = self._used >> (index + 1)
        index = index + 1 + _lowest(above) if above else _lowest(self._used)
        return (index << BITS) + _lowest(self._words[index])

    def from_above(self, place: int) -> int:
        """The highest that is taken at a place (-1 or more) or below it, and else of all."""
        if place >= 0:
            index = place >> BITS
            here = self._words[index] & ((2 << (place & MASK)) - 1)
            below = self._used & ((1 << index) - 1)
            if here:
                return (index << BITS) + here.bit_length() - 1
        else:
            below = 0
        index = (below or self._used).bit_length() - 1
        return (index << BITS) + self._words[index].bit_length() - 1


def _lowest(bits: int) -> int:
    """The number of the lowest bit that is set, where one is."""
    return (bits & -bits).bit_length() - 1
