"""The library's cluster: workers, events, and every way to its end."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

import balancer
from balancer import (
    AppError,
    Exit,
    Fork,
    Listening,
    Message,
    Online,
    RunError,
    Server,
    State,
    UsageError,
)
from balancer.cluster.assemble import assemble
from tests.cluster import apps
from tests.cluster.lab import (
    APP,
    answer,
    ask,
    cluster,
    get,
    hold,
    listening,
    names,
    rest,
    until,
)
from tests.net.children import count_fds

if TYPE_CHECKING:
    from balancer import Cluster, Event, Subscription, Worker
    from balancer.settings import Settings

ORDER = ["Fork", "Online", "Listening", "Disconnect", "Exit"]


async def test_a_cluster_serves_and_tells_the_story_of_each_worker() -> None:
    async with cluster(workers=2) as opened:
        events = opened.events()
        await opened.ready()
        assert {await get(opened), await get(opened)} == {"1", "2"}
        workers = list(opened.workers.values())
        assert [worker.state for worker in workers] == [State.READY] * 2
        assert [worker.exited_after_disconnect for worker in workers] == [None, None]
    story = await rest(events)
    for worker in workers:
        assert names(story, worker) == ORDER
        assert worker.is_dead
        assert not worker.is_connected
        assert story[-1].worker in workers
        end = await worker.wait()
        assert (end.code, end.signal, end.exited_after_disconnect) == (0, None, True)
    assert not opened.workers


async def test_the_listening_event_has_the_real_address() -> None:
    async with cluster() as opened:
        event = await until(opened.events(), Listening)
        assert event.address == opened.addresses[0]
        assert event.address.host == "127.0.0.1"
        assert isinstance(event.address.port, int)
        assert str(event.address) == f"127.0.0.1:{event.address.port}"


async def test_the_first_reader_misses_nothing_and_the_second_starts_when_it_starts() -> None:
    async with cluster() as opened:
        await opened.ready()
        first = opened.events()
        second = opened.events()
        await opened.disconnect()
    assert names(await rest(first)) == ORDER
    assert names(await rest(second)) == ORDER[3:]


async def test_a_dead_worker_is_replaced_in_its_slot() -> None:
    async with cluster() as opened:
        events = opened.events()
        (first,) = await listening(events, 1)
        first.kill(signal.SIGKILL)
        end = await first.wait()
        assert (end.code, end.signal) == (None, signal.SIGKILL)
        assert first.exited_after_disconnect is False
        assert first.process.signal is signal.SIGKILL
        (second,) = await listening(events, 1)
        assert (second.id, second.slot) == (2, first.slot)
        assert list(opened.workers) == [2]
        assert await get(opened) == "2"


async def test_sigterm_is_a_wish_that_lets_a_worker_finish_and_be_replaced() -> None:
    async with cluster() as opened:
        events = opened.events()
        (first,) = await listening(events, 1)
        held = await hold(opened, events)
        first.kill()
        await listening(events, 1)
        await first.send({"do": "release"})
        assert await answer(held) == "1"
        end = await first.wait()
        assert (end.code, end.exited_after_disconnect) == (0, True)


async def test_a_worker_that_is_disconnected_leaves_at_once_and_is_not_replaced() -> None:
    async with cluster(workers=2) as opened:
        events = opened.events()
        first, second = await listening(events, 2)
        held = [await hold(opened, events) for _ in range(2)]
        assert first.disconnect() is first
        assert list(opened.workers) == [second.id]
        assert [await get(opened) for _ in range(2)] == [str(second.id)] * 2
        assert not first.is_dead
        for worker in (first, second):
            await worker.send({"do": "release"})
        assert {await answer(each) for each in held} == {"1", "2"}
        assert (await first.wait()).exited_after_disconnect
        first.disconnect()
        assert len(opened.status().workers) == 1


async def test_manual_mode_forks_when_told_and_never_by_itself() -> None:
    async with cluster(workers=0) as opened:
        events = opened.events()
        assert not opened.workers
        workers = [opened.fork({"WHO": str(number)}) for number in range(2)]
        assert opened.workers == {worker.id: worker for worker in workers}
        await opened.ready()
        assert [(await ask(events, each, "about"))["env"]["WHO"] for each in workers] == ["0", "1"]
        workers[0].kill(signal.SIGKILL)
        await until(events, Exit, workers[0])
        assert [worker.id for worker in opened.workers.values()] == [2]
        assert len(opened.status().workers) == 1
        again = opened.fork()
        assert again.slot == 1  # its place is free
        await until(events, Listening, again)
    assert sorted(names(await rest(events))) == ["Disconnect"] * 2 + ["Exit"] * 2


async def test_in_manual_mode_a_worker_that_cannot_start_is_only_an_exit() -> None:
    async with cluster("tests.cluster.apps:missing", workers=0) as opened:
        events = opened.events()
        worker = opened.fork()
        end = await worker.wait()
        assert (end.code, end.exited_after_disconnect) == (4, False)
        await opened.disconnect()
    assert names(await rest(events), worker) == ["Fork", "Online", "Disconnect", "Exit"]


async def test_an_app_that_cannot_be_imported_ends_the_block() -> None:
    with pytest.raises(AppError, match="missing"):
        async with cluster("tests.cluster.apps:missing"):
            await trio.sleep_forever()


async def test_an_address_that_is_taken_is_an_error_before_the_block() -> None:
    async with cluster() as opened:
        with pytest.raises(RunError, match="address already in use"):
            async with cluster(bind=str(opened.addresses[0])):
                raise AssertionError


async def test_an_error_of_the_block_comes_out_as_it_is_and_ends_the_workers() -> None:
    workers: list[Worker] = []

    async def fail() -> None:
        async with cluster(workers=2) as opened:
            await opened.ready()
            workers.extend(opened.workers.values())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert [worker.is_dead for worker in workers] == [True, True]


async def test_a_block_that_is_cancelled_ends_the_workers_too() -> None:
    with trio.move_on_after(5) as scope:
        async with cluster() as opened:
            await opened.ready()
            held = await hold(opened, opened.events())
            (worker,) = opened.workers.values()
            scope.cancel()
            await trio.sleep_forever()
    assert worker.is_dead
    await held.aclose()


async def test_disconnect_returns_when_the_last_worker_is_gone() -> None:
    async with cluster(workers=3) as opened:
        await opened.ready()
        workers = list(opened.workers.values())
        held = await hold(opened, opened.events())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(opened.disconnect)
            nursery.start_soon(opened.disconnect)  # idempotent, and both wait
            await workers[0].send({"do": "release"})
            await workers[1].send({"do": "release"})
            await workers[2].send({"do": "release"})
        assert all(worker.is_dead for worker in workers)
        assert await answer(held) in {"1", "2", "3"}
        with pytest.raises(RunError, match="disconnected"):
            opened.fork()
        await opened.disconnect()


def children() -> str:
    """The processes that this one has started and not reaped."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


async def test_nothing_is_left_and_it_works_again() -> None:
    counts = []
    for _ in range(3):
        async with cluster(workers=2, silent=True) as opened:
            await opened.ready()
            workers = list(opened.workers.values())
        counts.append(count_fds())  # trio keeps some for itself, from the first time on
    assert counts[1] == counts[2]
    assert all(worker.is_dead for worker in workers)
    assert not children()


async def test_a_cluster_takes_no_signals() -> None:
    handlers = {each: signal.getsignal(each) for each in signal.valid_signals()}
    async with cluster() as opened:
        await opened.ready()
        now = {each: signal.getsignal(each) for each in signal.valid_signals()}
    assert {each for each in now if now[each] != handlers[each]} <= {signal.SIGCHLD}


async def test_several_apps_each_on_its_own_port(tmp_path: Path) -> None:
    servers = [
        Server(APP, "127.0.0.1:0"),
        Server(apps.other, ["127.0.0.1:0", f"unix:{tmp_path}/sock"]),
        Server(apps.greeter, "127.0.0.1:0"),
    ]
    async with cluster(*servers, workers=2) as opened:
        await opened.ready()
        said = [await get(opened, address=index) for index in range(4)]
        assert said[0] in {"1", "2"}
        assert said[1:] == ["other", "other", "an instance"]


@pytest.mark.parametrize("policy", ["shared", "reuseport"])
async def test_several_apps_under_the_kernels_policies(policy: str, tmp_path: Path) -> None:
    servers = [Server(APP, f"unix:{tmp_path}/sock"), Server(apps.other, "127.0.0.1:0")]
    async with cluster(*servers, workers=2, policy=policy) as opened:
        await opened.ready()
        assert await get(opened, address=0) in {"1", "2"}
        assert await get(opened, address=1) == "other"


async def test_an_exclusive_listener_is_for_one_worker_until_it_leaves() -> None:
    servers = [Server(APP, "127.0.0.1:0", exclusive=True), Server(APP, "127.0.0.1:0")]
    async with cluster(*servers, workers=3) as opened:
        events = opened.events()
        found: list[tuple[int, int]] = []
        while len(found) < 4:  # 3 on the shared address and 1 on the exclusive one
            event = await until(events, Listening)
            found.append((opened.addresses.index(event.address), event.worker.id))
        (owner,) = [worker for index, worker in found if index == 0]
        assert {await get(opened, address=0) for _ in range(6)} == {str(owner)}
        assert {await get(opened, address=1) for _ in range(3)} == {"1", "2", "3"}
        opened.workers[owner].disconnect()
        after = {await get(opened, address=0) for _ in range(6)}
        assert len(after) == 1
        assert after != {str(owner)}


async def heirs(opened: Cluster, events: Subscription[Event]) -> tuple[Worker, Worker]:
    """The owner of the exclusive address 0, and the other of two workers."""
    found = [await until(events, Listening) for _ in range(3)]
    (owner,) = [each.worker for each in found if each.address == opened.addresses[0]]
    (heir,) = {each.worker for each in found} - {owner}
    return owner, heir


@pytest.mark.parametrize("end", ["killed", "disconnected", "asked to leave"])
async def test_who_inherits_an_exclusive_listener_listens(end: str) -> None:
    servers = [Server(APP, "127.0.0.1:0", exclusive=True), Server(APP, "127.0.0.1:0")]
    async with cluster(*servers, workers=2) as opened:
        events = opened.events()
        owner, heir = await heirs(opened, events)
        if end == "disconnected":
            owner.disconnect()
        else:
            owner.kill(signal.SIGKILL if end == "killed" else signal.SIGTERM)
        event = await until(events, Listening)
        assert (event.worker, event.address) == (heir, opened.addresses[0])
        assert await get(opened, address=0) == str(heir.id)
        if end != "disconnected":  # who follows listens on what is for everybody
            event = await until(events, Listening)
            assert (event.worker.id, event.address) == (3, opened.addresses[1])
        await opened.disconnect()
    # and in the end nobody inherits anything from those who leave with them
    assert "Listening" not in names(await rest(events))


async def test_an_exclusive_listener_waits_for_the_next_worker_there_is() -> None:
    async with cluster(Server(APP, "127.0.0.1:0", exclusive=True)) as opened:
        events = opened.events()
        (first,) = await listening(events, 1)
        first.kill(signal.SIGKILL)
        assert [worker.id for worker in await listening(events, 1)] == [2]
        assert await get(opened) == "2"
        await opened.reload()
        assert [worker.id for worker in await listening(events, 1)] == [3]
        await opened.disconnect()
    assert "Listening" not in names(await rest(events))


async def test_a_worker_closes_and_reopens_an_address_by_itself() -> None:
    async with cluster(bind=["127.0.0.1:0", "127.0.0.1:0"], workers=2) as opened:
        events = opened.events()
        await opened.ready()
        first, second = opened.workers.values()
        address = str(opened.addresses[0])
        assert await ask(events, first, "close", address=address) == "closed"
        assert {await get(opened) for _ in range(4)} == {str(second.id)}
        assert {await get(opened, address=1) for _ in range(2)} == {"1", "2"}
        await first.send({"do": "listen", "address": address})
        event = await until(events, Listening, first)
        assert str(event.address) == address
        assert {await get(opened) for _ in range(2)} == {"1", "2"}


async def test_captured_output_is_the_programs(capfd: pytest.CaptureFixture[str]) -> None:
    async with cluster(silent=True, log_level="info") as opened:
        await opened.ready()
        (worker,) = opened.workers.values()
        assert worker.stdout is not None
        assert worker.stderr is not None
        await worker.send({"do": "print", "out": "out\u00e4", "err": "err"})
        said = b""
        async with worker.stdout, worker.stderr:
            while b"\n" not in said:
                said += await worker.stdout.receive_some()
            assert said.decode() == "out\u00e4\n"
            lines = b""
            while b"err\n" not in lines:
                lines += await worker.stderr.receive_some()
            assert b"looks like" not in lines
    assert capfd.readouterr() == ("", "")


async def test_reload_replaces_the_workers() -> None:
    async with cluster(workers=2) as opened:
        events = opened.events()
        await listening(events, 2)
        await opened.reload()
        await listening(events, 2)
        assert await get(opened) in {"3", "4"}


def test_online_comes_with_a_pid() -> None:
    async def main() -> None:
        async with balancer.open_cluster(APP, workers=0, bind="127.0.0.1:0") as opened:
            worker = opened.fork()
            before = worker.pid
            event = await until(opened.events(), Online)
            assert event.worker is worker
            assert before is None
            assert worker.process.pid == worker.pid
            assert isinstance(worker.pid, int)

    trio.run(main)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": "x"}, "workers='x': not a whole number"),
        ({"workers": -1}, "workers=-1: must be at least 1"),
        ({"workers": True}, "workers=True: must be a number"),
        ({"wrokers": 1}, "wrokers: there is no such setting; did you mean workers?"),
        ({"bind": 8000}, "bind=8000: must be a string or a list of strings"),
        ({"bind": ["8000"]}, "a port needs a colon; did you mean :8000?"),
        ({"policy": "fair"}, "policy='fair': must be one of"),
        ({"pid": "/tmp/x.pid"}, "pid: is about the whole process"),
        ({"env": {"A=B": "c"}}, "env 'A=B': no variable can have this name"),
        ({"env": {"A": 1}}, "env 'A': names and values are strings"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        balancer.open_cluster(APP, **arguments)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_numbers_and_texts_are_the_same() -> None:
    def read(**arguments: object) -> Settings:
        return assemble([APP], arguments, caller=None, env={}).settings

    binds = [":80", "[::1]:81"]
    assert read(workers=4, timeout=2.5, recall=None, bind=binds, preload=True) == read(
        workers="4", timeout="2500ms", recall="off", bind=tuple(binds), preload="yes"
    )
    assert read(name=None) == read()


async def test_fork_and_message_events_name_their_worker() -> None:
    async with cluster(workers=0) as opened:
        events = opened.events()
        worker = opened.fork()
        assert (await until(events, Fork)).worker is worker
        await until(events, Listening)
        assert await worker.send({"do": "echo", "a": [1, None, b"2"]})
        message = await until(events, Message)
        assert message.worker is worker
        assert message.data == {"a": [1, None, b"2"]}
        assert message.sockets == ()
