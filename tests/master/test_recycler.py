"""Recycling, with real processes and scripted workers: in turn, and never too many."""

from __future__ import annotations

import logging
import re
import signal
from typing import TYPE_CHECKING

import trio
import trio.testing

from balancer.master.operations import Operations, Phase
from tests.master.test_supervisor import DEADLINE, Server, serving
from tests.support.wait import until

if TYPE_CHECKING:
    import pytest

    from balancer.core.messages import Spawn
    from balancer.master.worker import WorkerHandle


def watch_crowd(server: Server) -> list[int]:
    """How many workers there were whenever one was about to be forked."""
    crowd: list[int] = []
    spawn = server.spawner.spawn

    async def counting(worker: WorkerHandle, request: Spawn, fds: list[int]) -> bool:
        crowd.append(len(server.supervisor.workers))
        return await spawn(worker, request, fds)

    server.spawner.spawn = counting  # type: ignore[method-assign]
    return crowd


async def test_all_want_to_go_and_one_of_four_does_at_a_time() -> None:
    async with serving("leaving leaving leaving leaving serve", workers=4) as server:
        crowd = watch_crowd(server)
        await until(lambda: sorted(server.supervisor.workers) == [5, 6, 7, 8])
        # Before the successors: while the first four were started.  After: one more than there are
        # slots, because the one before has left.
        assert crowd[-4:] == [5] * 4
        assert all(slot.restarts == 1 for slot in server.supervisor.slots)


async def test_two_of_five_do() -> None:
    script = " ".join(["leaving"] * 5) + " serve"
    async with serving(script, workers=5) as server:
        crowd = watch_crowd(server)
        await until(lambda: sorted(server.supervisor.workers) == [6, 7, 8, 9, 10])
        assert max(crowd) == 7


async def test_one_that_never_leaves_holds_up_nobody_for_long() -> None:
    async with serving("leaving leaving serve", workers=2, graceful_timeout=0.2) as server:
        stopped: list[WorkerHandle] = []
        spawn = server.spawner.spawn

        async def stopping(worker: WorkerHandle, request: Spawn, fds: list[int]) -> bool:
            old = server.supervisor.slots[worker.slot - 1].current
            if old is not None and old is not worker and not stopped:
                old.signal(signal.SIGSTOP)  # so that it can't drain
                stopped.append(old)
            return await spawn(worker, request, fds)

        server.spawner.spawn = stopping  # type: ignore[method-assign]
        await until(lambda: {3, 4} <= {each.id for each in server.ready.values()})
        [old] = stopped
        assert not old.dead.is_set()
        old.signal(signal.SIGKILL)


async def test_a_successor_that_fails_lets_others_go_first() -> None:
    async with serving("leaving leaving exit serve", workers=2) as server:
        await until(lambda: sorted(server.supervisor.workers) == [4, 5])
        assert await server.ask() in {4, 5}


async def test_during_a_roll_nobody_goes() -> None:
    async with serving("leaving serve", workers=1) as server:
        server.supervisor.recycler.paused = True
        await server.all_ready()
        await until(lambda: 1 in server.supervisor.recycler._recycling)  # it has asked
        await trio.testing.wait_all_tasks_blocked()
        assert list(server.supervisor.workers) == [1]
        server.supervisor.recycler.paused = False
        await until(lambda: list(server.supervisor.workers) == [2])


async def test_a_roll_sees_to_that() -> None:
    async with serving(workers=2) as server, trio.open_nursery() as nursery:
        await server.all_ready()
        supervisor = server.supervisor
        operations = Operations(
            server.live,
            supervisor,
            server.dispatcher,
            server.ports,
            server.spawner,
            server.rolling(),
            nursery,
        )
        await operations.reload()
        await until(lambda: 3 in supervisor.workers)
        paused = [supervisor.recycler.paused]
        await until(lambda: operations.phase is Phase.RUNNING)
        paused.append(supervisor.recycler.paused)
        assert paused == [True, False]
        assert {each.id for each in server.ready.values()} == {3, 4}


async def test_who_was_replaced_meanwhile_is_not_replaced_again() -> None:
    async with serving("leaving serve", workers=1) as server:
        server.supervisor.recycler.paused = True
        await server.all_ready()
        with trio.fail_after(DEADLINE):
            await server.supervisor.replace(server.supervisor.slots[0])
        server.supervisor.recycler.paused = False
        await until(lambda: list(server.supervisor.workers) == [2])
        await trio.sleep(0.1)  # not to wait for something, but to see nothing happen
        assert list(server.supervisor.workers) == [2]


async def test_a_stop_ends_it() -> None:
    async with serving("leaving leaving hang", workers=2) as server:
        await until(lambda: any(slot.successor for slot in server.supervisor.slots))
        server.supervisor.stopping = True
        for worker in list(server.supervisor.workers.values()):
            server.supervisor.quit(worker)
            with trio.fail_after(DEADLINE):
                await worker.dead.wait()
        assert not server.supervisor.workers


async def test_a_slot_that_is_retired_meanwhile_gets_nobody() -> None:
    async with serving("serve leaving hang", workers=2) as server:
        await until(lambda: server.supervisor.slots[1].successor)
        server.supervisor.retire_slot()
        await until(lambda: list(server.supervisor.workers) == [1])


async def test_time_counts_from_ready(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "balancer")
    async with serving(workers=1, workers_lifetime=1.0) as server:
        first = (await server.all_ready())[1]
        await until(lambda: list(server.supervisor.workers) == [2])
        second = server.ready[1]
        assert first.ready_at is not None
        assert second.ready_at is not None
        assert second.ready_at - first.ready_at >= 1.0
    [line] = [each.message for each in caplog.records if "is to be replaced" in each.message]
    wanted = r"worker 1 .* replaced: its time is over \(--workers-lifetime\), after 1\.\d s"
    assert re.fullmatch(wanted, line)


async def test_memory(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "balancer")
    async with serving("grow grow serve", workers=2, workers_max_rss=60 << 20) as server:
        await until(lambda: sorted(server.supervisor.workers) == [3, 4])
    found = re.findall(r"it has (\d+)MiB of RSS \(--workers-max-rss\), after \d", caplog.text)
    assert len(found) == 2
    assert min(map(int, found)) >= 54


async def test_a_limit_below_what_everybody_needs_replaces_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(workers_max_rss=1 << 20) as server:
        await server.all_ready()
        await trio.sleep(0.6)  # more than two looks
        assert list(server.ready) == [1]
        assert list(server.supervisor.workers) == [1]
    assert "isn't replaced for it: raise --workers-max-rss" in caplog.text


class TestPatience:
    """With ``--reload`` an app that can't start is somebody's work in progress."""

    async def test_it_waits_for_a_change(self, caplog: pytest.LogCaptureFixture) -> None:
        async with serving("app app exit serve", workers=2, reload=True) as server:
            what = "the next change of a file starts another one (--reload)"
            await until(lambda: caplog.text.count(what) == 2)
            assert all(slot.vacant for slot in server.supervisor.slots)
            first, second = server.supervisor.slots
            with trio.fail_after(DEADLINE):
                assert not await server.supervisor.replace(first)
                await until(lambda: first.vacant)
                assert await server.supervisor.replace(first)
                assert await server.supervisor.replace(second)
            assert not server.supervisor.failed.is_set()
            assert await server.ask() in {4, 5}
