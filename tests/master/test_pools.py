"""Editions of the list of upstreams: what keeps its number, and how long one that left is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import UsageError
from balancer.master.pools import Book, let_go, revise
from balancer.net.endpoints import ANY_EDITION, POOLS
from balancer.settings import Settings
from balancer.settings.table import Service

if TYPE_CHECKING:
    from balancer.settings import Upstream


def settings_of(**pools: tuple[str, ...]) -> Settings:
    """Pools by name; an empty one is an app."""
    return Settings(
        services=tuple(Service(name, Settings(upstreams=texts)) for name, texts in pools.items())
    )


def numbers(book: Book) -> dict[str, int]:
    return {
        f"{pool.prefix}{upstream}": number
        for pool in book.pools
        for number, upstream in pool.upstreams.items()
    }


def test_numbers_are_over_all_pools_and_stay() -> None:
    one = revise(Book(), settings_of(api=("a:1", "b:1"), site=(), img=("a:1",)))
    assert numbers(one) == {"api/http://a:1": 0, "api/http://b:1": 1, "img/http://a:1": 2}
    assert [pool.number for pool in one.pools] == [0, 1]
    two = revise(one, settings_of(img=("https://a:1", "a:1,max=2"), api=("c:1", "b:1,weight=3")))
    assert numbers(two) == {
        "img/https://a:1": 3, "img/http://a:1": 2, "api/http://c:1": 4, "api/http://b:1": 1,
    }  # fmt: skip
    assert [(pool.name, pool.number) for pool in two.pools] == [("img", 1), ("api", 0)]
    assert [(each.number, each.edition, each.since) for each in two.left] == [(0, 2, 1)]


def test_one_without_tables_is_a_pool_without_a_name() -> None:
    book = revise(Book(), Settings(upstreams=("a:1",)))
    assert [(pool.name, pool.prefix, pool.number) for pool in book.pools] == [("", "", 0)]
    assert revise(book, Settings(app="a:b")).pools == ()


def test_who_left_is_kept_for_those_who_know_it() -> None:
    one = revise(Book(), settings_of(api=("a:1", "b:1")))
    two = revise(one, settings_of(api=("b:1",)))
    assert let_go(two, {1, 2}) == (two, set())
    assert let_go(two, {2, ANY_EDITION}) == (two, set()), "one that boots may know it"
    book, gone = let_go(two, {2})
    assert (book.left, gone) == ((), {0})
    assert let_go(two, ()) == (book, {0})
    # a new number, for the old one may be in use no more, but was
    assert numbers(revise(book, settings_of(api=("a:1", "b:1")))) == {
        "api/http://a:1": 2, "api/http://b:1": 1,
    }  # fmt: skip


def test_a_change_that_is_taken_back_leaves_nothing() -> None:
    one = revise(Book(), settings_of(api=("a:1",)))
    two = revise(one, settings_of(api=("b:1",), new=("c:1",)))
    three = revise(two, settings_of(api=("a:1",)))
    assert numbers(three) == numbers(one)
    assert {each.number for each in three.left} == {1, 2}
    # the workers that run have never heard of them
    assert let_go(three, {1})[0].left == ()
    assert let_go(three, {1, 2})[0].left == three.left


def test_a_pools_number_is_given_again_when_nobody_knows_it() -> None:
    many = {f"p{number}": ("a:1",) for number in range(POOLS)}
    one = revise(Book(), settings_of(**many))
    with pytest.raises(UsageError, match=f"there can be {POOLS} pools at a time"):
        revise(one, settings_of(**many, more=("a:1",)))
    del many["p3"]
    two = revise(one, settings_of(**many))
    with pytest.raises(UsageError, match="those included that workers of before a reload still"):
        revise(two, settings_of(**many, more=("a:1",)))
    three = revise(let_go(two, {2})[0], settings_of(**many, more=("a:1",)))
    (pool,) = [each for each in three.pools if each.name == "more"]
    assert pool.number == 3


servers = st.lists(st.sampled_from("abcdef"), unique=True, max_size=4).map(
    lambda names: tuple(f"{name}:1" for name in names)
)
lists = st.dictionaries(st.sampled_from(["x", "y", "z"]), servers, max_size=3)


@given(st.lists(st.tuples(lists, st.integers(0, 3)), min_size=1, max_size=12))
def test_a_number_has_one_meaning_for_as_long_as_anybody_knows_it(
    steps: list[tuple[dict[str, tuple[str, ...]], int]],
) -> None:
    """Whatever lists there were, and however old the workers are that still run."""
    book, alive = Book(), list[Book]()
    meanings: dict[int, tuple[str, object]] = {}
    for wanted, dying in steps:
        book = revise(book, settings_of(**wanted))
        alive.append(book)
        alive = alive[min(dying, len(alive) - 1) :]
        book, gone = let_go(book, {each.edition for each in alive})
        for each in alive:
            known: list[tuple[str, int, int, Upstream]] = [
                (pool.name, pool.number, number, upstream)
                for pool in each.pools
                for number, upstream in pool.upstreams.items()
            ]
            for name, _, number, upstream in known:
                meaning = name, upstream.server
                assert meanings.setdefault(number, meaning) == meaning
                assert number not in gone, "somebody goes by it"
        pools = {(pool.name, pool.number) for each in alive for pool in each.pools}
        assert len({number for _, number in pools}) == len({name for name, _ in pools})
