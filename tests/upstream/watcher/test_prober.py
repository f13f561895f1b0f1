"""The rhythm of probes, and what follows from their results.  Time is the test's."""

from __future__ import annotations

import logging
import socket
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, final

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from balancer.net.endpoints import EndpointTable, WorkerView
from balancer.settings.upstream import Upstream, parse_upstream
from balancer.upstream.watcher import prober as prober_module
from balancer.upstream.watcher.prober import Prober, Rhythm
from balancer.upstream.watcher.roll import Roll

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from balancer.net.endpoints import Address, EndpointRow

NAME = parse_upstream("web:80")


def address(last: int) -> Address:
    return int(socket.AF_INET), (f"10.0.0.{last}", 80)


@final
class Servers:
    """Answers probes as it is told, after a time."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}
        self.took = 0.0
        self.times: dict[int, list[float]] = {}

    async def __call__(self, row: EndpointRow, _: Upstream) -> str | None:
        self.times.setdefault(row.placed, []).append(trio.current_time())
        await trio.sleep(self.took)
        return self.reasons.get(row.index)


@contextmanager
def new_table(*lasts: int) -> Iterator[EndpointTable]:
    table = EndpointTable.create(rows=4)
    for last in lasts:
        table.place(0, address(last), weight=1, now=0.0)
    try:
        yield table
    finally:
        table.close()


@given(st.floats(0, 1, exclude_max=True), st.floats(0.1, 1000))
def test_the_interval_is_uneven_by_a_fifth(random: float, interval: float) -> None:
    assert interval * 0.79 < Rhythm(interval).pause(random) < interval * 1.21


async def test_each_has_its_own_rhythm(autojump_clock: object) -> None:  # noqa: ARG001
    servers = Servers()
    with new_table(0, 1, 2, 3) as table:
        async with trio.open_nursery() as nursery:
            roll = Roll(table, {0: NAME})
            began = trio.current_time()
            Prober(table.heads, roll, servers, Rhythm(2.0), lambda: 0.5, nursery).start()
            await trio.sleep(11.9)
            nursery.cancel_scope.cancel()
        firsts = [times[0] - began for times in servers.times.values()]
        assert firsts == [0.0, 0.5, 1.0, 1.5]
        for times in servers.times.values():
            assert [round(after - before, 6) for before, after in pairwise(times)] == [2.0] * 5
        assert all(row.probed_at for row in table.heads.states())


async def test_a_slow_server_is_probed_at_intervals_too(autojump_clock: object) -> None:  # noqa: ARG001
    servers = Servers()
    servers.took = 1.0
    with new_table(0) as table:
        async with trio.open_nursery() as nursery:
            roll = Roll(table, {0: NAME})
            Prober(table.heads, roll, servers, Rhythm(2.0), lambda: 0.5, nursery).start()
            await trio.sleep(7)
            servers.took = 3.0
            await trio.sleep(8)
            nursery.cancel_scope.cancel()
    (times,) = servers.times.values()
    assert [round(each - times[0]) for each in times] == [0, 2, 4, 6, 8, 11, 14]


async def test_down_after_fall_and_up_after_rise(
    autojump_clock: object,  # noqa: ARG001
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "balancer")
    servers = Servers()
    with new_table(0, 1) as table:
        table.admit(0)
        view = WorkerView(table, 0)
        async with trio.open_nursery() as nursery:
            roll = Roll(table, {0: NAME})
            Prober(table.heads, roll, servers, Rhythm(1.0), lambda: 0.5, nursery).start()
            await trio.sleep(0.25)
            version = view.version
            servers.reasons[0] = "it answers 500"
            await trio.sleep(2)
            assert view.version == version, "twice is not enough"
            await trio.sleep(1)
            assert view.version != version
            assert [row.down for row in view.states()] == [True, False]
            assert caplog.messages == [
                "upstream 10.0.0.0:80 of web:80 is down: 3 probes in a row failed: it answers 500"
            ]
            version = view.version
            del servers.reasons[0]
            await trio.sleep(1)
            assert view.version == version
            await trio.sleep(1)
            assert view.version != version
            assert [row.down for row in view.states()] == [False, False]
            assert caplog.messages[1:] == [
                "upstream 10.0.0.0:80 of web:80 is up: 2 probes in a row passed"
            ]
            nursery.cancel_scope.cancel()
        view.close()


async def test_who_was_down_stays_down_until_probes_pass(autojump_clock: object) -> None:  # noqa: ARG001
    servers = Servers()
    with new_table(0) as table:
        table.heads.probed(0, up=False, now=1.0)
        async with trio.open_nursery() as nursery:
            roll = Roll(table, {0: NAME})
            Prober(table.heads, roll, servers, Rhythm(1.0), lambda: 0.5, nursery).start()
            await trio.sleep(0.5)
            (row,) = table.heads.states()
            assert row.down
            assert row.probed_at > 1.0
            await trio.sleep(1)
            assert not table.heads.states()[0].down
            nursery.cancel_scope.cancel()


async def test_the_next_watcher_goes_on_counting_and_in_the_same_rhythm(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or one that is relieved often would probe the first few, and take nobody out."""
    monkeypatch.setattr(prober_module, "monotonic", trio.current_time)
    autojump_clock.jump(1000.0)
    servers = Servers()
    with new_table(0, 1) as table:
        servers.reasons[0] = "gone"
        for _ in range(4):
            async with trio.open_nursery() as nursery:
                roll = Roll(table, {0: NAME})
                Prober(table.heads, roll, servers, Rhythm(2.0), lambda: 0.5, nursery).start()
                await trio.sleep(1.4)  # by a clock that jumps: less than the interval
                nursery.cancel_scope.cancel()
        assert [row.down for row in table.heads.states()] == [True, False]
        for times in servers.times.values():
            assert [round(after - before, 6) for before, after in pairwise(times)] == [2.0, 2.0]


def test_what_was_said_of_all_addresses_holds_for_new_ones() -> None:
    with new_table(0, 1) as table:
        roll = Roll(table, {0: NAME})
        for row in roll.rows():
            table.heads.reweigh(row.index, 5)
        table.heads.drain(0, drained=True, now=1.0)
        roll.settle(0, [address(0), address(1), address(2)])
        assert [(row.weight, row.drained) for row in roll.rows()] == [
            (5, True), (5, False), (5, False),
        ]  # fmt: skip
        for row in roll.rows():
            table.heads.drain(row.index, drained=True, now=1.0)
        table.heads.reweigh(0, 6)
        roll.settle(0, [address(3)])
        assert [(row.weight, row.drained) for row in roll.rows()] == [(1, True)]


def test_other_pools_rows_and_those_of_before_are_nobodys_here() -> None:
    with new_table(0) as table:
        table.place(1, address(1), weight=1, now=0.0)
        table.place(9, address(2), weight=1, now=0.0)
        roll = Roll(table, {0: NAME}, "api/")
        assert [row.upstream for row in roll.rows()] == [0]
        roll.settle(0, [address(1), address(2)])
        assert sorted(row.upstream for row in table.heads.states()) == [0, 0, 1, 9]
        assert roll.show(roll.rows()[0]) in {
            "10.0.0.1:80 of api/web:80", "10.0.0.2:80 of api/web:80",
        }  # fmt: skip


async def test_rows_come_and_go(autojump_clock: object) -> None:  # noqa: ARG001
    servers = Servers()
    servers.took = 0.5
    with new_table(0) as table:
        async with trio.open_nursery() as nursery:
            roll = Roll(table, {0: NAME})
            prober = Prober(table.heads, roll, servers, Rhythm(10.0), lambda: 0.5, nursery)
            roll.audience = prober
            prober.start()
            await trio.sleep(5)
            roll.settle(0, [address(0), address(1)])
            first, second = table.heads.states()
            await trio.sleep(0.25)
            assert len(servers.times[second.placed]) == 1, "a new one is probed at once"
            # while it is being probed
            roll.settle(0, [address(1)])
            servers.reasons[first.index] = "gone"
            await trio.sleep(100)
            assert len(servers.times[first.placed]) == 1
            assert len(servers.times[second.placed]) == 11
            assert [row.index for row in table.heads.states()] == [second.index]
            nursery.cancel_scope.cancel()


async def test_the_result_of_a_row_that_is_gone_is_nobodys(autojump_clock: object) -> None:  # noqa: ARG001
    """Another endpoint may have the row by then."""
    with new_table(0) as table:
        roll = Roll(table, {0: NAME})
        before = table.heads.row(0)

        async def ask(_: EndpointRow, __: Upstream) -> str | None:
            # in the very step in which the probe ends
            if before is not None and roll.rows() == [before]:
                roll.settle(0, [address(1)])
                table.heads.place(0, 0, address(2), 1, 0.0, [0, 0, 0, 0])
            return "too late"

        async with trio.open_nursery() as nursery:
            prober = Prober(table.heads, roll, ask, Rhythm(1.0, fall=1), lambda: 0.5, nursery)
            roll.audience = prober
            prober.start()
            await trio.sleep(0.1)
            after = table.heads.row(0)
            assert after is not None
            assert after.address == address(2)
            assert not after.down
            assert after.probed_at == 0.0
            nursery.cancel_scope.cancel()
