"""A fork server that misbehaves, and what becomes of the master's books about it."""

from __future__ import annotations

import errno
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from balancer.core.messages import ProtocolError
from balancer.errors import BootError
from balancer.forkserver.client import ForkServer
from tests.faults.lab import process_state
from tests.master.test_supervisor import DEADLINE, serving
from tests.support.wait import until

if TYPE_CHECKING:
    from balancer.core.messages import Configure


async def test_one_that_talks_nonsense_is_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nonsense(_: bytes) -> None:
        raise ProtocolError("no message")

    async with serving(workers=2) as server:
        workers = await server.all_ready()
        before = server.spawner.pid
        monkeypatch.setattr(server.spawner._servers[-1].link, "_decode", nonsense)
        with caplog.at_level(logging.ERROR):
            workers[1].signal(signal.SIGKILL)  # whose end it reports
            await until(lambda: server.spawner.pid not in {None, before})
        assert "said what is no message (no message)" in caplog.text
        await until(lambda: 1 in server.ready and server.ready[1].id > 2)
        assert server.ready[2] is workers[2]


async def test_a_new_one_that_dies_is_said_to_have_died(monkeypatch: pytest.MonkeyPatch) -> None:
    start = ForkServer.start

    async def start_dying(configure: Configure) -> ForkServer:
        link = await start(configure)
        os.kill(link.pid, signal.SIGKILL)
        return link

    async with serving() as server:
        await server.all_ready()
        before = server.spawner.pid
        monkeypatch.setattr(ForkServer, "start", start_dying)
        with trio.fail_after(DEADLINE), pytest.raises(BootError, match="was killed by SIGKILL"):
            await server.spawner.renew(30.0)
        assert server.spawner.pid == before


async def test_a_request_that_could_not_be_sent_leaves_no_worker_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as server:
        [worker] = (await server.all_ready()).values()
        fork_server = server.spawner._servers[-1]
        calls = []

        async def refuse(*_: object) -> bool:
            calls.append(set(fork_server.workers))
            raise OSError(errno.ETOOMANYREFS, os.strerror(errno.ETOOMANYREFS))

        monkeypatch.setattr(ForkServer, "spawn", refuse)
        worker.signal(signal.SIGKILL)
        await until(lambda: calls)
        await until(lambda: not fork_server.workers)
        monkeypatch.undo()
        await server.all_ready()


async def test_orphans_are_guarded_although_one_dies_meanwhile(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    guard = ForkServer.guard
    guarded: list[bool] = []

    def is_pidfd(fd: int) -> bool:
        try:
            return "Pid:" in Path(f"/proc/self/fdinfo/{fd}").read_text()
        except FileNotFoundError:
            return False

    async with serving(workers=2) as server:
        workers = await server.all_ready()

        async def guard_late(link: ForkServer, pidfds: list[int]) -> None:
            if pidfds and not guarded:
                workers[1].signal(signal.SIGKILL)
                await workers[1].dead.wait()
                await until(lambda: workers[1].pidfd < 0)
            guarded.extend(map(is_pidfd, pidfds))
            await guard(link, pidfds)

        monkeypatch.setattr(ForkServer, "guard", guard_late)
        assert server.spawner.pid is not None
        os.kill(server.spawner.pid, signal.SIGKILL)
        await until(lambda: guarded)
        await until(lambda: 1 in server.ready and server.ready[1].id > 2)
        assert guarded == [True, True]
        assert "can't be told" not in caplog.text


async def test_one_that_was_let_go_and_hangs_is_not_left_behind() -> None:
    async with serving(workers=0) as server:
        await server.spawner.renew(DEADLINE)
        old = server.spawner.pid
        assert old is not None
        os.kill(old, signal.SIGSTOP)
        await server.spawner.renew(DEADLINE)
        assert server.spawner.pid != old
        await wait_all_tasks_blocked()  # its end of the line is closed
        await server.spawner.close(0.1)
        await until(lambda: process_state(old) == "Z")  # or gone
