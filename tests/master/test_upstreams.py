"""The master's side of the upstreams: other lists, and what an operator says of one of them."""

from __future__ import annotations

import logging
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from balancer.errors import RunError, UsageError
from balancer.master.upstreams import Upstreams
from balancer.net.doorbell import Doorbell
from balancer.net.endpoints import ENDPOINTS, EndpointTable, WorkerView
from balancer.settings import Settings
from balancer.settings.table import Service

if TYPE_CHECKING:
    from collections.abc import Iterator


def proxy(*texts: str) -> Settings:
    return Settings(upstreams=texts, probe="off")


def pools(**texts: tuple[str, ...]) -> Settings:
    return Settings(services=tuple(Service(name, proxy(*each)) for name, each in texts.items()))


def table_of(upstreams: Upstreams) -> EndpointTable:
    assert upstreams._table is not None
    return upstreams._table


def shown(upstreams: Upstreams) -> list[tuple[str, str, int]]:
    return [(each.address, each.state, each.weight) for each in upstreams.states()]


def placed(upstreams: Upstreams) -> list[str]:
    """All rows, those that old workers may need included."""
    return [str(row.address[1][0]) for row in table_of(upstreams).heads.states()]


@contextmanager
def worker(upstreams: Upstreams, row: int, pool: int = 0) -> Iterator[WorkerView]:
    """One that has just read the present list, and hasn't died in the end."""
    upstreams.admit(row)
    table = table_of(upstreams)
    table.goes_by(row, upstreams.book.edition)
    with closing(WorkerView(table, row, pool)) as view:
        yield view


@contextmanager
def made(settings: Settings) -> Iterator[Upstreams]:
    with closing(Upstreams(settings)) as upstreams:
        yield upstreams


async def test_who_is_taken_away_stays_for_those_who_know_it() -> None:
    with made(proxy("10.0.0.1:1", "10.0.0.2:1")) as upstreams, worker(upstreams, 0) as old:
        old.begin(0)
        change = await upstreams.adopt(proxy("10.0.0.2:1", "10.0.0.3:1"))
        assert change.summary() == "+ http://10.0.0.3:1, - http://10.0.0.1:1"
        assert shown(upstreams) == [("10.0.0.2:1", "ready", 1), ("10.0.0.3:1", "ready", 1)]
        assert placed(upstreams) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        with worker(upstreams, 1) as new:
            upstreams.admit(2)  # boots
            upstreams.bury(0)
            assert len(placed(upstreams)) == 3, "nobody knows which list it has"
            table_of(upstreams).goes_by(2, upstreams.book.edition)
            upstreams.bury(2)
            assert placed(upstreams) == ["10.0.0.2", "10.0.0.3"]
            assert new.active(0) == 0


async def test_who_stays_is_what_it_was() -> None:
    with (
        made(proxy("10.0.0.1:1", "10.0.0.2:1,weight=3")) as upstreams,
        worker(upstreams, 0) as view,
    ):
        upstreams.drain("10.0.0.1:1")
        upstreams.weigh("10.0.0.2:1", 7)
        view.begin(1)
        before = table_of(upstreams).heads.states()
        await upstreams.adopt(proxy("10.0.0.2:1,weight=3,max=5", "10.0.0.1:1"))
        assert table_of(upstreams).heads.states() == before
        assert shown(upstreams) == [("10.0.0.2:1", "ready", 7), ("10.0.0.1:1", "drained", 1)]
        assert [(each.max, each.active) for each in upstreams.states()] == [(5, 1), (0, 0)]
        # the configuration says another weight than before
        await upstreams.adopt(proxy("10.0.0.2:1,weight=4", "10.0.0.1:1"))
        assert shown(upstreams) == [("10.0.0.2:1", "ready", 4), ("10.0.0.1:1", "drained", 1)]


async def test_a_change_that_is_taken_back() -> None:
    before = proxy("10.0.0.1:1", "10.0.0.2:1")
    with made(before) as upstreams, worker(upstreams, 0):
        upstreams.drain("10.0.0.1:1")
        rows = table_of(upstreams).heads.states()
        await upstreams.adopt(proxy("10.0.0.3:1"))
        assert len(placed(upstreams)) == 3
        await upstreams.adopt(before)
        assert table_of(upstreams).heads.states() == rows


async def test_what_cant_be_changes_nothing() -> None:
    before = proxy("10.0.0.1:1")
    with made(before) as upstreams:
        book, rows = upstreams.book, table_of(upstreams).heads.states()
        with pytest.raises(UsageError, match=r"UPSTREAM|upstreams"):
            await upstreams.prepare(proxy("10.0.0.2:1", "[fe80::1%nowhere]:1"))
        with pytest.raises(UsageError, match="/nowhere"):
            await upstreams.prepare(
                Settings(upstreams=("https://10.0.0.3",), upstream_ca="/nowhere")
            )
        assert upstreams.book is book
        assert table_of(upstreams).heads.states() == rows


async def test_a_change_is_of_what_there_was() -> None:
    with made(proxy("10.0.0.1:1")) as upstreams:
        late = await upstreams.prepare(proxy("10.0.0.2:1"))
        await upstreams.adopt(proxy("10.0.0.3:1"))
        with pytest.raises(RunError, match="another reload"):
            await upstreams.commit(late)
        assert shown(upstreams) == [("10.0.0.3:1", "ready", 1)]


async def test_the_first_pool_and_the_last_one() -> None:
    with made(Settings(app="a:b")) as upstreams:
        assert (upstreams.fd, upstreams.states(), upstreams.waiting()) == (None, [], 0)
        upstreams.admit(0)
        upstreams.bury(0)
        with pytest.raises(RunError, match=r"there are: none"):
            upstreams.drain("10.0.0.1:1")
        await upstreams.adopt(pools(api=("10.0.0.1:1",)))
        with worker(upstreams, 0):
            assert upstreams.fd is not None
            await upstreams.adopt(Settings(app="a:b"))
            assert upstreams.fd is not None, "old workers may be replaced by such as they are"
            assert (upstreams.states(), placed(upstreams)) == ([], ["10.0.0.1"])
            upstreams.bury(0)
            assert placed(upstreams) == []


async def test_who_was_taken_away_makes_room() -> None:
    many = tuple(f"10.0.{n // 250}.{n % 250}:1" for n in range(ENDPOINTS))
    with made(proxy(*many)) as upstreams, worker(upstreams, 0):
        with pytest.raises(UsageError, match="257 addresses together, and 256 is the most"):
            await upstreams.prepare(proxy(*many, "10.1.0.0:1"))
        await upstreams.adopt(proxy(*many[2:]))
        assert len(placed(upstreams)) == ENDPOINTS
        await upstreams.adopt(proxy(*many[2:], "10.1.0.0:1"))
        assert len(placed(upstreams)) == ENDPOINTS
        assert [state for _, state, _ in shown(upstreams)] == ["ready"] * (ENDPOINTS - 1)


async def test_who_gets_an_address_that_another_one_had() -> None:
    with made(proxy("https://10.0.0.1:1", "10.0.0.1:1")) as upstreams:
        assert [each.name for each in upstreams.states()] == ["https://10.0.0.1:1"]
        await upstreams.adopt(proxy("10.0.0.1:1"))
        assert [each.name for each in upstreams.states()] == ["http://10.0.0.1:1"]


def test_the_weights_that_there_are() -> None:
    with made(proxy("10.0.0.1:1")) as upstreams:
        with pytest.raises(UsageError) as raised:
            upstreams.weigh("10.0.0.1:1", 0)
        assert str(raised.value) == (
            "weight 10.0.0.1:1 0: must be a whole number from 1 to 256; to give it no requests, "
            "drain it: balancer drain 10.0.0.1:1"
        )
        with pytest.raises(UsageError, match=r"from 1 to 256$"):
            upstreams.weigh("10.0.0.1:1", 257)


async def test_a_drain_is_over_when_nothing_is_in_progress(autojump_clock: object) -> None:  # noqa: ARG001
    with made(proxy("10.0.0.1:1")) as upstreams, worker(upstreams, 0) as view:
        view.begin(0)
        rows = upstreams.drain("10.0.0.1:1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upstreams.idle, rows, "10.0.0.1:1")
            await trio.sleep(5)  # by a clock that jumps
            assert nursery.child_tasks
            view.end(0)
        await upstreams.idle(rows, "10.0.0.1:1")
        upstreams.resume("10.0.0.1:1")
        with pytest.raises(RunError, match="resumed before its last request"):
            await upstreams.idle(rows, "10.0.0.1:1")


async def test_a_dead_workers_room_is_told_to_who_waits_at_that_pool() -> None:
    with (
        made(pools(api=("10.0.0.1:1,max=1",), img=("10.0.0.2:1,max=1",))) as upstreams,
        worker(upstreams, 0) as dead,
        worker(upstreams, 1, 1) as waits,
        closing(Doorbell(table_of(upstreams).fd, 1, 0)) as other_bell,
        closing(Doorbell(table_of(upstreams).fd, 1, 1)) as bell,
    ):
        dead.begin(1)
        waits.wait(1, 1.0)
        assert upstreams.waiting() == 1
        heard: list[Any] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other_bell.listen, lambda: heard.append("other"))
            nursery.start_soon(bell.listen, lambda: heard.append("its own"))
            upstreams.bury(0)
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel()
        assert heard == ["its own"]


def test_a_pool_that_is_drained_as_a_whole_is_said_to_be_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "balancer")
    with made(pools(api=("10.0.0.1:1", "10.0.0.2:1"), img=("10.0.0.1:1",))) as upstreams:
        upstreams.drain("api/10.0.0.1:1")
        assert caplog.messages == []
        upstreams.drain("10.0.0.2:1")
        upstreams.drain("10.0.0.2:1")
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("pool api: all upstreams are drained")
        upstreams.resume("10.0.0.2:1")
        upstreams.drain("10.0.0.2:1")
        assert len(caplog.messages) == 2
