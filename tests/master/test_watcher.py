"""The watcher is kept running, and what it found last holds meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio
import trio.testing

from balancer.master import watcher as module
from balancer.master.pools import Book, revise
from balancer.master.watcher import Watcher, watcher_config
from balancer.settings import Settings
from balancer.settings.table import Service
from balancer.upstream.watcher.config import PoolConfig, WatcherConfig
from tests.support.wait import until
from tests.upstream.watcher.lab import closed_port, config_for, filled_table, is_alive, local

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from balancer.net.endpoints import EndpointTable

MASTER = """
import sys, trio
from balancer.master.watcher import Watcher
from tests.support.wait import until
from tests.upstream.watcher.lab import config_for, filled_table, local

async def main():
    table = filled_table(local(9), upstreams=("127.0.0.1:9",))
    watcher = Watcher(config_for("127.0.0.1:9"), table)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        await until(lambda: table.helper_beat)
        print(watcher.pid, flush=True)

trio.run(main)
"""


@asynccontextmanager
async def running(port: int) -> AsyncIterator[tuple[Watcher, EndpointTable]]:
    text = f"127.0.0.1:{port}"
    table = filled_table(local(port), upstreams=(text,))
    try:
        watcher = Watcher(config_for(text), table)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher.run)
            yield watcher, table
            nursery.cancel_scope.cancel()
    finally:
        table.close()


def is_down(table: EndpointTable) -> bool:
    (row,) = table.heads.states()
    return row.down


async def test_what_a_killed_watcher_found_stays_and_the_next_one_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = closed_port()
    async with running(port) as (watcher, table):
        await until(lambda: is_down(table))
        first = watcher.pid
        assert first is not None
        version, beat = table.heads.version, table.helper_beat
        os.kill(first, signal.SIGKILL)
        await until(lambda: watcher.pid not in {first, None})
        assert is_down(table)
        await until(lambda: table.helper_beat > beat)
        assert is_down(table)
        assert table.heads.version == version
        with socket.create_server(("127.0.0.1", port)):
            await until(lambda: not is_down(table))
        second = watcher.pid
    (line,) = caplog.messages
    assert line == (
        f"the watcher of the upstreams (pid {first}) was killed by SIGKILL; what it found last "
        "holds, and another one starts at once"
    )
    assert second is not None
    assert not is_alive(second)
    assert watcher.pid is None


async def test_one_that_hangs_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.5)
    async with running(closed_port()) as (watcher, table):
        await until(lambda: table.helper_beat)
        first = watcher.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        await until(lambda: watcher.pid not in {first, None})
        assert not is_alive(first)
    assert caplog.messages[0] == f"the watcher of the upstreams (pid {first}) hangs and is killed"


async def test_the_stop_takes_along_even_one_that_is_stopped() -> None:
    async with running(closed_port()) as (watcher, table):
        await until(lambda: table.helper_beat)
        pid = watcher.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    assert not is_alive(pid)


async def test_one_that_cant_start_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        async with running(closed_port()) as (watcher, table):
            await until(lambda: caplog.messages)
            assert caplog.messages[0].startswith(
                "the watcher of the upstreams can't be started: No such file or directory; what "
            )
            patch.undo()
            await until(lambda: table.helper_beat)
            assert watcher.pid is not None


async def test_one_that_dies_at_its_start_is_not_started_in_a_hurry(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = "https://127.0.0.1:9"
    table = filled_table(local(9), upstreams=(text,))
    watcher = Watcher(config_for(text, probe="http:/", upstream_ca="/nowhere"), table)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        await until(lambda: caplog.messages)
        nursery.cancel_scope.cancel()
    table.close()
    assert caplog.messages[0].endswith(
        "exited with 1; what it found last holds, and another one starts in 0.1 s"
    )


async def test_no_watcher_outlives_its_master() -> None:
    async with trio.open_nursery() as nursery:
        master = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-c", MASTER],
                stdout=subprocess.PIPE,
                check=False,
            )
        )
        pid = int(await master.stdout.receive_some())
        assert is_alive(pid)
        master.kill()
    await until(lambda: not is_alive(pid))


def test_the_config_is_that_of_the_settings() -> None:
    one = Settings(upstreams=("a:80",), probe="http:/x", probe_rise=7, upstream_verify=False)
    two = Settings(upstreams=("b:1", "b:2"))
    whole = Settings(services=(Service("one", one), Service("two", two)), user=7)
    assert watcher_config(whole, revise(Book(), whole)) == WatcherConfig(
        pools=(
            PoolConfig(
                name="one",
                numbers=(0,),
                upstreams=("a:80",),
                probe="http:/x",
                probe_rise=7,
                upstream_verify=False,
            ),
            PoolConfig(name="two", numbers=(1, 2), upstreams=("b:1", "b:2")),
        ),
        user=7,
    )
    assert watcher_config(two, revise(Book(), two)) == WatcherConfig(
        pools=(PoolConfig(numbers=(0, 1), upstreams=("b:1", "b:2")),)
    )


async def test_who_is_relieved_is_gone_and_the_next_one_goes_on() -> None:
    port = closed_port()
    async with running(port) as (watcher, table):
        await until(lambda: is_down(table))
        first = watcher.pid
        assert first is not None
        async with watcher.relieved():
            assert not is_alive(first)
            beat, version = table.helper_beat, table.heads.version
        await until(lambda: table.helper_beat > beat)
        assert watcher.pid not in {first, None}
        assert is_down(table)
        assert table.heads.version == version


async def test_who_is_relieved_at_its_start_is_gone_too() -> None:
    async with running(closed_port()) as (watcher, _):
        for _ in range(3):
            async with watcher.relieved():
                assert watcher.pid is None
            await trio.testing.wait_all_tasks_blocked()


async def test_where_there_is_nothing_to_watch_there_is_no_watcher() -> None:
    table = filled_table(local(9), upstreams=("127.0.0.1:9",))
    watcher = Watcher(config_for("127.0.0.1:9", probe="off"), table)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        await trio.testing.wait_all_tasks_blocked()
        assert watcher.pid is None
        async with watcher.relieved():
            watcher.config = config_for("127.0.0.1:9")
        await until(lambda: table.helper_beat)
        nursery.cancel_scope.cancel()
    table.close()
