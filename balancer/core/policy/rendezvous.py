"""Rendezvous hashing: the same key meets the same member, and few keys move when members do.

Algorithm: a hash of the member's name and the key gives each member a number in (0, 1), and
``-weight / ln(number)`` a score; the highest is picked.  So every key has its own order of all
members.  When one is away its keys go to the next in *their* orders, which are spread over all that
are left; all other keys stay, and those come back with it.  A member has ``weight / sum`` of the
keys, and a weight that changes moves only what it must.

The *name* is hashed, not the index, so any number of front doors on any machine agree without
talking, whatever order they were told the members in; and of workers it is the slot, so that the
next worker in it inherits the keys.

A request without a key (no such header, no such cookie) would make one member serve all that are
like it: those are spread by smooth weighted round-robin instead, as nginx and HAProxy do.

Cost: O(n) for a pick, n hashes of 1 µs or so.  Right for caches, and for sessions kept in memory.
Wrong for balance: one key that is popular is one member's (a company behind one address, with
``hash:ip``), and the share of keys is even only where there are many; and for hundreds of
endpoints, where a table (Maglev) costs a pick less.

Source: D. Thaler and C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (1998); the
weights: J. Resch, "New Hashing Algorithms for Data Storage" (SNIA 2015); Traefik's ``hrw``, Caddy's
hash policies.
"""

from __future__ import annotations

from hashlib import blake2b
from heapq import heapify, heappop
from math import log
from typing import TYPE_CHECKING, ClassVar, final

from balancer.core.policy.smooth_weighted import SmoothWeighted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Rendezvous"]

_SIZE = 8
"""Bytes of hash, of which a float holds 52 bits: no two members score the same."""


@final
class Rendezvous:
    """Scores of names; ``names`` gives a member's address as text.

    It is asked once per member and remembered until ``forget``.
    """

    __slots__ = ("_keyless", "_names", "_seeds", "_weights")

    uses_load: ClassVar[bool] = False
    uses_key: ClassVar[bool] = True

    def __init__(self, names: Callable[[int], bytes]) -> None:
        self._names = names
        self._seeds: dict[int, blake2b] = {}
        self._weights: dict[int, float] = {}
        self._keyless = SmoothWeighted()

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:
        self._weights[member] = weight
        self._keyless.offer(member, load, weight)

    def withdraw(self, member: int) -> None:
        self._weights.pop(member, None)
        self._keyless.withdraw(member)

    def forget(self, member: int) -> None:
        self.withdraw(member)
        self._keyless.forget(member)
        self._seeds.pop(member, None)

    def pick(self, key: bytes = b"") -> int | None:
        if not key:
            member = self._keyless.pick()
            if member is not None:
                del self._weights[member]
            return member
        best, highest = None, 0.0
        for member, weight in self._weights.items():
            score = self._score(member, weight, key)
            if score > highest:
                best, highest = member, score
        if best is not None:
            self.withdraw(best)
        return best

    def prefer(self, key: bytes, weights: Mapping[int, float]) -> Iterator[int]:
        """The key's own order of these members, offered or not: whose it is, and who comes next.

        Args:
            key: A key; without one nobody is preferred.
            weights: By member; each above 0.  A member that is named here is remembered, as one
                that was offered is, until ``forget``.

        Cost: n hashes for the first, O(log n) for each one more.
        """
        if not key:
            return
        # The lower number first among equals, so that the order is the key's alone.
        ranks = [(-self._score(each, weight, key), each) for each, weight in weights.items()]
        heapify(ranks)
        while ranks:
            yield heappop(ranks)[1]

    def _score(self, member: int, weight: float, key: bytes) -> float:
        seed = self._seeds.get(member)
        if seed is None:
            # The zero ends the name, which has none: "ab" + "c" is another pair than "a" + "bc".
            seed = blake2b(self._names(member) + b"\0", digest_size=_SIZE)
            self._seeds[member] = seed
        hashed = seed.copy()
        hashed.update(key)
        # Halves keep it away from 0 and 1, where the logarithm is infinite or nothing.
        number = int.from_bytes(hashed.digest(), "big") >> 12
        return -weight / log((number + 0.5) / (1 << 52))

    def __len__(self) -> int:
        return len(self._weights)
