"""Slots and their workers, with a real fork server, real processes and scripted workers."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import pytest
import trio

from balancer.core.lifecycle import State
from balancer.core.messages import Configure, WorkerConfig
from balancer.errors import AppError, BootError, RunError
from balancer.master.dispatcher import Dispatcher
from balancer.master.hooks import MasterHooks
from balancer.master.live import Edition, Live
from balancer.master.policies import find_policy
from balancer.master.ports import Ports
from balancer.master.reload import Reloader
from balancer.master.rolling import Rolling
from balancer.master.spawner import Spawner
from balancer.master.status import make_status
from balancer.master.supervisor import Supervisor
from balancer.master.surroundings import Surroundings
from balancer.net.slots import SlotTable
from balancer.settings import Settings, TcpBind
from tests.net.children import no_descriptors_left
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from balancer.core.control import Status
    from balancer.master.worker import WorkerHandle

DEADLINE = 10.0


@final
class Server:
    """A master without a command line."""

    def __init__(self, settings: Settings, script: str, nursery: trio.Nursery) -> None:
        config = WorkerConfig(app=script, log_level="critical")
        configure = Configure(
            config, "tests.master.workers", settings.graceful_timeout, settings.preload
        )
        self.live = Live(settings)
        self.configure = configure
        self.ports = Ports(settings)
        self.dispatcher = Dispatcher(
            1, policy=find_policy(settings), window=1, queue=100, recall=0.1
        )
        self.live.edition = Edition(settings, lanes=self.ports.lanes)
        self.table = SlotTable.create()
        self.spawner = Spawner(configure, nursery)
        self.supervisor = Supervisor(
            self.live, self.dispatcher, self.ports, self.table, self.spawner, nursery
        )
        for _ in range(settings.workers):
            self.supervisor.add_slot()
        self.ports.open(self.dispatcher)
        nursery.start_soon(self.dispatcher.run)
        nursery.start_soon(self.supervisor.watch_hearts)

    def rolling(self) -> Rolling:
        """What rolls the workers; there is no configuration to be read again."""
        live, dispatcher, ports = self.live, self.dispatcher, self.ports
        reloader = Reloader(
            live,
            Surroundings(),
            lambda settings: (settings, 100),
            lambda _: self.configure,
            ports,
            dispatcher,
        )
        return Rolling(
            live,
            reloader,
            self.supervisor,
            dispatcher,
            ports,
            self.spawner,
            MasterHooks(live),
        )

    @property
    def ready(self) -> dict[int, WorkerHandle]:
        """The workers in service, by slot."""
        return {
            slot.number: slot.current
            for slot in self.supervisor.slots
            if slot.current is not None and slot.current.state is State.READY
        }

    async def all_ready(self) -> dict[int, WorkerHandle]:
        await until(lambda: len(self.ready) == len(self.supervisor.slots))
        return self.ready

    async def failure(self) -> str:
        with trio.fail_after(DEADLINE):
            await self.supervisor.failed.wait()
        return str(self.supervisor.failure)

    async def ask(self) -> int:
        """The id of the worker that answers a new connection."""
        port = int(self.ports.addresses[0].rpartition(":")[2])
        with trio.fail_after(DEADLINE):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                return int(await stream.receive_some())

    def status(self) -> Status:
        return make_status(
            self.live.settings,
            "running",
            1.5,
            None,
            self.supervisor,
            self.dispatcher,
            self.ports,
            self.spawner,
        )

    async def stop(self) -> None:
        self.supervisor.stopping = True
        for worker in list(self.supervisor.workers.values()):
            worker.signal(signal.SIGKILL)
            await worker.dead.wait()
        await self.spawner.close(2.0)


@asynccontextmanager
async def serving(
    script: str = "serve",
    *,
    workers: int = 1,
    timeout: float = 30.0,
    boot_timeout: float = 10.0,
    graceful_timeout: float = 5.0,
    preload: bool = False,
    policy: str = "round-robin",
    workers_lifetime: float = 0.0,
    workers_max_rss: int = 0,
    reload: bool = False,
) -> AsyncIterator[Server]:
    settings = Settings(
        workers=workers,
        bind=(TcpBind("127.0.0.1", 0),),
        timeout=timeout,
        boot_timeout=boot_timeout,
        graceful_timeout=graceful_timeout,
        preload=preload,
        policy=policy,
        workers_lifetime=workers_lifetime,
        workers_max_rss=workers_max_rss,
        reload=reload,
    )
    async with trio.open_nursery() as nursery:
        server = Server(settings, script, nursery)
        try:
            yield server
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(DEADLINE):
                await server.stop()
            nursery.cancel_scope.cancel()
            server.ports.close_at_once()
            server.dispatcher.abandon()
            os.close(server.table.fd)


class TestService:
    async def test_every_slot_gets_a_worker_and_all_of_them_serve(self) -> None:
        async with serving(workers=3) as server:
            workers = await server.all_ready()
            assert server.supervisor.all_ready.is_set()
            assert sorted(worker.id for worker in workers.values()) == [1, 2, 3]
            assert sorted([await server.ask() for _ in range(6)]) == [1, 1, 2, 2, 3, 3]

    async def test_a_dead_worker_is_replaced_in_its_slot(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(workers=2) as server:
            workers = await server.all_ready()
            slot, victim = next(iter(workers.items()))
            victim.signal(signal.SIGKILL)
            with trio.fail_after(DEADLINE):
                await victim.dead.wait()
            now = await server.all_ready()
            assert now[slot].id == 3
            assert {await server.ask() for _ in range(4)} == {worker.id for worker in now.values()}
            [line] = [each.message for each in caplog.records if each.levelno == logging.ERROR]
            assert line.startswith(f"worker {victim.id} (slot {slot}, pid {victim.pid}) was killed")
            assert line.endswith("replaced")

    async def test_the_port_waits_while_nobody_is_there(self) -> None:
        async with serving("crash serve") as server:
            assert await server.ask() == 2

    async def test_a_worker_that_says_garbage_is_ended_and_the_master_is_not(self) -> None:
        async with serving("garbage serve") as server:
            await until(lambda: server.ready.get(1) and server.ready[1].id == 2)
            assert await server.ask() == 2

    async def test_a_worker_without_a_heartbeat_is_ended(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving("deaf serve", timeout=0.5) as server:
            await until(lambda: server.ready)
            await until(lambda: server.ready.get(1) and server.ready[1].id == 2)
            assert "has had no heartbeat for 1 s" in caplog.text
            assert "has had no heartbeat for 0.5 s (-t) and is ended" in caplog.text
            assert "was killed by SIGABRT" in caplog.text


class TestBoot:
    async def test_an_app_that_cant_be_imported_is_the_end(self) -> None:
        async with serving("app", workers=2) as server:
            assert await server.failure() == "app x: can't import x"
            assert isinstance(server.supervisor.failure, AppError)

    async def test_with_preload_too(self) -> None:
        async with serving("app", preload=True) as server:
            assert await server.failure() == "app x: can't import x"
            assert isinstance(server.supervisor.failure, AppError)

    @pytest.mark.parametrize(
        ("script", "cause"), [("boot", "failed to start: no database"), ("exit", "exited with 3")]
    )
    async def test_another_failure_is_the_end_after_three_tries(
        self, script: str, cause: str
    ) -> None:
        async with serving(script) as server:
            assert await server.failure() == (f"no worker became ready: the last one {cause}")
            assert isinstance(server.supervisor.failure, BootError)
            assert server.supervisor.slots[0].restarts == 2

    async def test_one_that_recovers_is_not(self) -> None:
        async with serving("exit boot serve") as server:
            assert await server.ask() == 3
            assert not server.supervisor.failed.is_set()

    async def test_once_it_worked_no_failure_is_the_end(self) -> None:
        async with serving("serve app app app serve") as server:
            workers = await server.all_ready()
            workers[1].signal(signal.SIGKILL)
            await until(lambda: server.ready.get(1) and server.ready[1].id == 5)
            assert not server.supervisor.failed.is_set()

    async def test_a_worker_that_is_never_ready_is_killed_in_time(self) -> None:
        async with serving("hang", boot_timeout=0.3) as server:
            assert re.fullmatch(
                "no worker became ready: the last one failed to start: "
                r"wasn't (ready|forked) within 0\.3 s \(--boot-timeout\)",
                await server.failure(),
            )


class TestReplacing:
    async def test_the_new_one_is_ready_before_the_old_one_drains(self) -> None:
        async with serving() as server:
            old = (await server.all_ready())[1]
            with trio.fail_after(DEADLINE):
                assert await server.supervisor.replace(server.supervisor.slots[0])
                assert server.ready[1].id == 2
                await old.dead.wait()
            assert old.exit_code == 0
            assert await server.ask() == 2

    async def test_when_the_new_one_fails_the_old_one_stays(self) -> None:
        async with serving("serve exit") as server:
            old = (await server.all_ready())[1]
            with trio.fail_after(DEADLINE):
                assert not await server.supervisor.replace(server.supervisor.slots[0])
            assert server.ready == {1: old}
            assert await server.ask() == 1

    @pytest.mark.parametrize("script", ["leaving serve", "term serve"])
    async def test_who_wants_to_go_is_replaced(self, script: str) -> None:
        async with serving(script) as server:
            await until(lambda: server.ready.get(1) and server.ready[1].id == 2)
            await until(lambda: list(server.supervisor.workers) == [2])
            assert server.supervisor.slots[0].restarts == 1
            assert await server.ask() == 2

    async def test_who_wants_to_go_is_replaced_although_the_first_try_fails(self) -> None:
        async with serving("leaving exit serve") as server:
            await until(lambda: list(server.supervisor.workers) == [3])
            assert await server.ask() == 3

    async def test_a_reload_starts_a_new_fork_server_and_the_old_one_leaves(self) -> None:
        async with serving() as server:
            old = (await server.all_ready())[1]
            before = server.spawner.pid
            assert before is not None
            with trio.fail_after(DEADLINE):
                await server.spawner.renew(5.0)
                assert server.spawner.pid != before
                await server.supervisor.replace(server.supervisor.slots[0])
                await old.dead.wait()
            await until(lambda: not os.path.exists(f"/proc/{before}"))
            assert await server.ask() == 2


class TestScaling:
    async def test_one_slot_more(self) -> None:
        async with serving() as server:
            await server.all_ready()
            server.supervisor.add_slot()
            assert set(await server.all_ready()) == {1, 2}

    async def test_a_slot_that_cant_have_a_listener_is_none(self) -> None:
        async with serving(policy="reuseport") as server:
            await server.all_ready()
            with no_descriptors_left(), pytest.raises(RunError, match="slot 2"):
                server.supervisor.add_slot()
            assert len(server.supervisor.slots) == 1

    async def test_one_slot_less(self) -> None:
        async with serving(workers=2) as server:
            last = (await server.all_ready())[2]
            server.supervisor.retire_slot()
            with trio.fail_after(DEADLINE):
                await last.dead.wait()
            assert last.exit_code == 0
            assert list(server.ready) == [1]
            assert await server.ask() == server.ready[1].id

    @pytest.mark.parametrize("policy", ["reuseport", "shared"])
    async def test_connections_to_a_retired_slot_go_to_others(self, policy: str) -> None:
        """These workers don't accept for themselves; whoever waits on the shard is not lost."""
        async with serving(workers=2, policy=policy) as server:
            await server.all_ready()
            address = ("127.0.0.1", int(server.ports.addresses[0].rpartition(":")[2]))
            clients = [socket.create_connection(address) for _ in range(20)]
            server.supervisor.retire_slot()
            await until(lambda: len(server.supervisor.workers) == 1)
            server.ports.close(server.dispatcher)
            with trio.fail_after(DEADLINE):
                for client in clients:
                    async with trio.SocketStream(trio.socket.from_stdlib_socket(client)) as stream:
                        assert await stream.receive_some() == b"1"

    async def test_while_a_slots_first_worker_boots_others_serve_its_connections(self) -> None:
        async with serving("serve hang", workers=2, policy="reuseport") as server:
            await until(lambda: server.ready)
            address = ("127.0.0.1", int(server.ports.addresses[0].rpartition(":")[2]))
            clients = [socket.create_connection(address) for _ in range(20)]
            # the others are in the queue of slot 1, whose worker would accept them for itself
            with trio.fail_after(3):
                await until(lambda: server.dispatcher.lane(0).accepted > 0)
                await until(lambda: server.dispatcher.pending() == 0)
            for client in clients:
                client.close()

    async def test_while_the_successor_of_a_dead_worker_boots_too(self) -> None:
        async with (
            serving("serve serve hang", workers=2, policy="reuseport") as server,
            trio.open_nursery() as nursery,
        ):
            dead = (await server.all_ready())[2]
            slot = server.supervisor.slots[1]
            nursery.start_soon(server.supervisor.replace, slot)
            await until(lambda: slot.successor and slot.successor.pid)
            dead.signal(signal.SIGKILL)
            await until(lambda: slot.current is not dead)
            address = ("127.0.0.1", int(server.ports.addresses[0].rpartition(":")[2]))
            clients = [socket.create_connection(address) for _ in range(20)]
            with trio.fail_after(3):
                await until(lambda: server.dispatcher.lane(0).accepted > 0)
            for client in clients:
                client.close()
            nursery.cancel_scope.cancel()


class TestDraining:
    async def test_a_drained_worker_stays_and_gets_nothing(self) -> None:
        async with serving(workers=2) as server:
            workers = await server.all_ready()
            drained, other = workers[1], workers[2]
            server.supervisor.park(drained, 5.0)
            assert {await server.ask() for _ in range(4)} == {other.id}
            assert drained.state is State.DRAINED
            assert not drained.dead.is_set()

    async def test_quit_ends_it(self) -> None:
        async with serving() as server:
            worker = (await server.all_ready())[1]
            server.supervisor.stopping = True
            server.supervisor.quit(worker)
            with trio.fail_after(DEADLINE):
                await worker.dead.wait()
            assert worker.exit_code == 0


class TestTheForkServersDeath:
    async def test_its_workers_go_on_and_the_next_one_guards_them(self) -> None:
        async with serving(workers=2) as server:
            workers = await server.all_ready()
            before = server.spawner.pid
            assert before is not None
            os.kill(before, signal.SIGKILL)
            assert {await server.ask() for _ in range(4)} == {1, 2}
            await until(lambda: server.spawner.pid not in {None, before})
            assert server.ready == workers

    async def test_one_that_hangs_holds_up_no_stop(self) -> None:
        async with serving(boot_timeout=60.0) as server:
            await server.all_ready()
            assert server.spawner.pid is not None
            os.kill(server.spawner.pid, signal.SIGSTOP)
            server.supervisor.add_slot()
            unborn = server.supervisor.workers[2]
            server.supervisor.stopping = True
            server.supervisor.quit(unborn)
            with trio.fail_after(DEADLINE):
                await unborn.dead.wait()

    async def test_the_next_spawn_works(self) -> None:
        async with serving() as server:
            worker = (await server.all_ready())[1]
            assert server.spawner.pid is not None
            os.kill(server.spawner.pid, signal.SIGKILL)
            worker.signal(signal.SIGKILL)
            # 3, when 2 was asked of the fork server in its last moment
            assert await server.ask() in {2, 3}


class TestStatus:
    async def test_it_tells_everything_without_asking_a_worker(self) -> None:
        async with serving(workers=2) as server:
            workers = await server.all_ready()
            await server.ask()
            status = server.status()
            assert status.master.pid == os.getpid()
            assert (status.master.policy, status.master.state) == ("round-robin", "running")
            assert [(each.slot, each.pid, each.state) for each in status.workers] == [
                (slot, workers[slot].pid, "ready") for slot in (1, 2)
            ]
            assert all((each.rss_bytes or 0) > 1_000_000 for each in status.workers)
            assert all((each.heartbeat_age_s or 0.0) < 5 for each in status.workers)
            [listener] = status.listeners
            assert (listener.address, listener.accepted) == (server.ports.addresses[0], 1)
            assert status.forkserver is not None
            assert status.forkserver.pid == server.spawner.pid
            assert (status.forkserver.pss_bytes or 0) > 1_000_000

    async def test_an_empty_slot_is_in_backoff(self) -> None:
        async with serving("serve exit") as server:
            workers = await server.all_ready()
            workers[1].signal(signal.SIGKILL)
            await until(lambda: server.supervisor.slots[0].vacant)
            [worker] = server.status().workers
            assert (worker.slot, worker.pid, worker.state) == (1, None, "backoff")
            assert worker.restarts >= 1
