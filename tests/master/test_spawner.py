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

from balancer.core.lifecycle import State
from balancer.core.messages import Configure, ProtocolError, WorkerConfig
from balancer.errors import BootError
from balancer.forkserver.client import ForkServer
from balancer.master.live import Edition
from tests.faults.lab import process_state
from tests.master.test_supervisor import DEADLINE, Server, serving
from tests.support.wait import until

if TYPE_CHECKING:
    from balancer.core.messages import Spawn
    from balancer.master.worker import WorkerHandle


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


async def test_one_that_hangs_before_it_is_warm_is_not_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = ForkServer.start
    pids: list[int] = []

    async def start_stopped(configure: Configure) -> ForkServer:
        link = await start(configure)
        os.kill(link.pid, signal.SIGSTOP)
        pids.append(link.pid)
        return link

    async with serving(workers=0) as server:
        monkeypatch.setattr(ForkServer, "start", start_stopped)
        with pytest.raises(BootError, match="the new fork server wasn't ready within 0 s"):
            await server.spawner.renew(0.0)
        await until(lambda: process_state(pids[0]) == "Z")  # or gone


class TestOnTrial:
    """A fork server that is tried out beside the one in use."""

    @staticmethod
    async def trial(server: Server, script: str) -> WorkerHandle:
        """The worker that a trial has in slot 1."""
        config = WorkerConfig(app=script, log_level="critical")
        configure = Configure(config, "tests.master.workers", 5.0)
        await server.spawner.try_out(configure, DEADLINE)
        [slot] = server.supervisor.slots
        edition = Edition(server.live.settings, lanes=server.ports.lanes)

        async def before() -> None:
            server.spawner.adopt()
            server.live.edition = edition

        with trio.fail_after(DEADLINE):
            worker = await server.supervisor.introduce(slot, edition, before)
        assert worker is not None
        return worker

    async def test_adopted_it_is_where_all_others_come_from(self) -> None:
        async with serving() as server:
            await server.all_ready()
            before = server.spawner.pid
            worker = await self.trial(server, "exit serve deaf")
            assert worker.ready_at is not None
            assert server.spawner.pid not in {None, before}
            worker.signal(signal.SIGKILL)
            await until(lambda: 3 in server.supervisor.workers)
            await until(lambda: server.ready.get(1) is server.supervisor.workers[3])
            # the script of the trial: who comes third is deaf
            await until(lambda: server.supervisor.workers[3].state is State.STALLED)

    async def test_rejected_it_leaves_no_trace(self) -> None:
        async with serving() as server:
            old = (await server.all_ready())[1]
            before = server.spawner.pid
            worker = await self.trial(server, "exit")
            assert worker.ready_at is None
            assert server.ready == {1: old}
            server.spawner.reject()
            server.spawner.reject()
            assert server.spawner.pid == before
            await until(lambda: len(server.spawner._unreaped) == 1)
            old.signal(signal.SIGKILL)
            await until(lambda: server.ready.get(1) not in {None, old})
            assert server.ready[1].edition is server.live.edition

    async def test_one_that_dies_while_it_forks_holds_up_nobody(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with serving(boot_timeout=60.0) as server:
            old = (await server.all_ready())[1]
            spawn = ForkServer.spawn

            async def kill_it(link: ForkServer, request: Spawn, fds: list[int]) -> bool:
                link.kill()
                return await spawn(link, request, fds)

            monkeypatch.setattr(ForkServer, "spawn", kill_it)
            worker = await self.trial(server, "serve")
            monkeypatch.undo()
            assert worker.ready_at is None
            server.spawner.reject()
            assert server.ready == {1: old}

    async def test_the_old_one_is_not_used_again_although_it_lives(self) -> None:
        """It stays for its workers, while the new one dies."""
        async with serving("serve", workers=1) as server:
            await server.all_ready()
            first = server.spawner._servers[-1]
            await server.spawner.renew(DEADLINE)
            assert first.link.alive
            second = server.spawner._servers[-1]
            second.link.kill()
            await until(lambda: second not in server.spawner._servers)
            server.supervisor.add_slot()
            await until(lambda: 2 in server.ready)
            assert server.spawner._servers[-1] not in {first, second}
