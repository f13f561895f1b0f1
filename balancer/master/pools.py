"""The pools of upstreams, edition by edition, and the numbers that the endpoints' table knows them
by.

A reload makes a new edition of the list, and new workers go by that; the old ones go by theirs for
as long as they drain, which may be an hour.  So a number never means another server, or another
pool: an upstream that stays keeps its number, one that is new gets one that was never used, and one
that was taken away is *left*: its rows stay until no worker goes by a list that has it, or else a
pool whose servers are all replaced would have none in the meantime.  Who is put back before that is
what it was.

A server is what it is in its pool: the same one in two pools is two upstreams.  Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, final

from balancer.errors import UsageError
from balancer.net.endpoints import ANY_EDITION, POOLS
from balancer.settings import parse_upstream
from balancer.settings.served import pools

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from balancer.settings import Settings, Upstream

__all__ = ["Book", "Left", "Pool", "let_go", "revise"]

_Key = tuple[str, object]
"""The name of a pool, and what a server is."""


@final
@dataclass(frozen=True, slots=True)
class Pool:
    """One pool; ``upstreams`` are by number, in the order in which they were given."""

    number: int
    name: str
    settings: Settings
    upstreams: Mapping[int, Upstream]

    @property
    def prefix(self) -> str:
        """What the names of its upstreams begin with."""
        return f"{self.name}/" if self.name else ""


@final
@dataclass(frozen=True, slots=True)
class Left:
    """An upstream that was taken away: ``edition`` is the first list without it."""

    number: int
    upstream: Upstream
    pool: int
    pool_name: str
    edition: int
    since: int
    """The first list that it was in."""


@final
@dataclass(frozen=True, slots=True)
class Book:
    """One edition of the list.

    Attributes:
        edition: 1, 2 and so on; 0 is before the first.
        pools: In the order of the settings.
        left: Those that old workers may go by.
        since: The first list that each of its upstreams was in, by number.
        fresh: The next number for an upstream.
    """

    edition: int = 0
    pools: tuple[Pool, ...] = ()
    left: tuple[Left, ...] = ()
    since: Mapping[int, int] = field(default_factory=dict)
    fresh: int = 0

    def pool(self, name: str) -> Pool | None:
        """The pool of that name."""
        return next((each for each in self.pools if each.name == name), None)

    def upstreams(self) -> dict[int, Upstream]:
        """All that are in it, by number."""
        return {number: each for pool in self.pools for number, each in pool.upstreams.items()}

    def known(self) -> dict[int, Upstream]:
        """All that any worker may know."""
        return self.upstreams() | {each.number: each.upstream for each in self.left}

    def pool_numbers(self) -> dict[str, int]:
        """The pools that any worker may know, by name."""
        numbers = {each.pool_name: each.pool for each in self.left}
        return numbers | {each.name: each.number for each in self.pools}

    def leave(self, edition: int) -> list[Left]:
        """All of it as it is when that edition, the next one, has none of it."""
        return [
            *self.left,
            *(
                Left(number, each, pool.number, pool.name, edition, self.since[number])
                for pool in self.pools
                for number, each in pool.upstreams.items()
            ),
        ]


def revise(book: Book, settings: Settings) -> Book:
    """The next edition.

    Raises:
        UsageError: there are too many pools.
    """
    edition = book.edition + 1
    before = book.leave(edition)
    numbers: dict[_Key, int] = {
        (each.pool_name, each.upstream.server): each.number for each in before
    }
    pool_numbers = book.pool_numbers()
    fresh, made = book.fresh, []
    for service in pools(settings):
        upstreams: dict[int, Upstream] = {}
        for upstream in map(parse_upstream, service.settings.upstreams):
            number = numbers.get((service.name, upstream.server), fresh)
            fresh = max(fresh, number + 1)
            upstreams[number] = upstream
        if service.name not in pool_numbers:
            pool_numbers[service.name] = _unused(pool_numbers, service.settings)
        made.append(Pool(pool_numbers[service.name], service.name, service.settings, upstreams))
    earlier = {each.number: each.since for each in before}
    since = {number: earlier.get(number, edition) for pool in made for number in pool.upstreams}
    left = tuple(each for each in before if each.number not in since)
    return Book(edition, tuple(made), left, since, fresh)


def let_go(book: Book, editions: Collection[int]) -> tuple[Book, set[int]]:
    """The book without those whom no worker knows any more, and their numbers.

    Args:
        book: The present one.
        editions: Those that workers go by, or ``ANY_EDITION`` where that isn't known yet.
    """
    if ANY_EDITION in editions:
        return book, set()
    gone = {
        each.number
        for each in book.left
        if not any(each.since <= edition < each.edition for edition in editions)
    }
    left = tuple(each for each in book.left if each.number not in gone)
    return replace(book, left=left), gone


def _unused(taken: Mapping[str, int], settings: Settings) -> int:
    numbers = set(taken.values())
    for number in range(POOLS):
        if number not in numbers:
            return number
    raise UsageError(
        f"{settings.where('upstreams')}: there can be {POOLS} pools at a time, those included that "
        "workers of before a reload still use; make fewer of them"
    )
