"""One source and its readers."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from balancer.net.feeds import ENOUGH, KEPT, Feed

if TYPE_CHECKING:
    from balancer.net.feeds import Subscription


@dataclass(eq=False)
class Thing:
    """An item that knows what became of it."""

    name: object
    size: int = 0
    dropped: bool = False
    copies: list[Thing] = field(default_factory=list)

    def copy(self) -> Thing:
        self.copies.append(Thing(self.name, self.size))
        return self.copies[-1]

    def drop(self) -> None:
        self.dropped = True


async def read(reader: Subscription[Thing], count: int) -> list[object]:
    with trio.fail_after(5):
        return [(await reader.receive()).name for _ in range(count)]


async def test_the_first_reader_gets_what_was_before() -> None:
    feed: Feed[Thing] = Feed()
    feed.put(Thing(1))
    first = feed.subscribe()
    second = feed.subscribe()
    feed.put(Thing(2))
    assert await read(first, 2) == [1, 2]
    assert await read(second, 1) == [2]


async def test_only_so_much_is_kept_for_it() -> None:
    feed: Feed[Thing] = Feed()
    things = [Thing(number) for number in range(KEPT + 2)]
    for thing in things:
        feed.put(thing)
    assert [thing.name for thing in things if thing.dropped] == [0, 1]
    assert await read(feed.subscribe(), 1) == [2]
    feed = Feed()
    large = [Thing("a", ENOUGH), Thing("b", 1)]
    for thing in large:
        feed.put(thing)
    assert [thing.dropped for thing in large] == [True, False]


async def test_the_end_comes_after_what_is_unread() -> None:
    feed: Feed[Thing] = Feed()
    reader = feed.subscribe()
    feed.put(Thing(1))
    feed.close()
    late = Thing(2)
    feed.put(late)
    assert late.dropped
    assert [thing.name async for thing in reader] == [1]
    with pytest.raises(trio.EndOfChannel):
        await reader.receive()
    assert [thing async for thing in feed.subscribe()] == []


async def test_every_reader_owns_what_it_gets() -> None:
    feed: Feed[Thing] = Feed()
    readers = [feed.subscribe() for _ in range(3)]
    thing = Thing(1)
    feed.put(thing)
    got = [await reader.receive() for reader in readers]
    assert got[0] is thing
    assert got[1:] == thing.copies


async def test_who_is_late_holds_up_who_asks_for_room() -> None:
    feed: Feed[Thing] = Feed()
    reader = feed.subscribe()
    await feed.room()
    feed.put(Thing(1, ENOUGH))
    for leave in (reader.receive, None):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.room)
            nursery.start_soon(feed.room)
            await trio.testing.wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 2
            if leave is not None:
                await leave()
            else:
                reader.close()
        feed.put(Thing(2, ENOUGH))


async def test_a_reader_that_is_forgotten_reads_no_more() -> None:
    feed: Feed[Thing] = Feed()
    thing = Thing(1, ENOUGH)
    feed.put(thing)
    reader = feed.subscribe()
    del reader
    gc.collect()
    assert thing.dropped
    with trio.fail_after(5):
        await feed.room()
    late = Thing(2)
    feed.put(late)
    assert late.dropped


async def test_two_tasks_may_wait_for_one_reader() -> None:
    feed: Feed[Thing] = Feed()
    reader = feed.subscribe()
    got: list[object] = []

    async def take() -> None:
        got.append((await reader.receive()).name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        feed.put(Thing(1))
        feed.put(Thing(2))
    assert sorted(map(str, got)) == ["1", "2"]
