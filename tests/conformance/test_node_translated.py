"""Node's own tests of its cluster module, translated: one function for each, by Node's name.

Names are without ``test-cluster-``.  Translated elsewhere, where their subject is:

- in test_api.py, beside real Node: ``net-server-drop-connection`` (s8a) and
  ``server-restart-rr`` (s10)
- in tests/cluster/test_messages.py: ``send-deadlock``, ``send-handle-large-payload``,
  ``child-process-pass-fd``
- in tests/cluster/test_cluster.py: ``disconnect-idle-worker``, ``worker-wait-server-close``,
  ``listening-port``, ``worker-events``
- in tests/net/test_listener.py: ``accept-fail``, ``net-listen-ipv6only-false`` and ``-rr``,
  ``net-listen-backlog``
- in tests/faults: ``primary-kill`` and ``process-disconnect`` with connections open

Left out, because there is nothing like it here:

- ``rr-domain-listen``: domains.  ``fork-windowsHide``: Windows.  ``inspect-brk`` and
  ``inspector-*``: a debugger's port.  ``dgram-*``, ``disconnect-unshared-udp``,
  ``child-index-dgram``: there is no UDP.  ``net-reuseport``, ``server-restart-none``: the policies
  ``reuseport`` and ``shared`` have tests of their own.  ``tls-ticket-cluster``: no TLS.
- ``rr-handle-close``, ``rr-handle-keep-loop-alive``, ``rr-handle-ref-unref``, ``rr-ref``: a worker
  lives until it is told to leave, not as long as it listens.
- ``setup-primary-cumulative``, ``-emit``, ``-multiple``: settings are arguments; another cluster
  has others.  ``worker-constructor``, ``worker-init``: workers are made by the master only.
- ``net-listen``, ``child-index-net``, ``disconnect-unshared-tcp``, ``port-reuse-between-workers``,
  ``net-listen-handle-in-cluster-*``: the master binds what ``bind`` says before there are workers;
  a worker can't add to it.
- ``uncaught-exception``: an app's exception ends a request, or its lifespan, and never the worker.
- ``cwd``: a worker's is the master's; ``app_dir`` says where the app is.
- ``listen-pipe-readable-writable``: who may connect is up to the folder's permissions.
- ``invalid-message``, ``ipc-throw``: acks have a socket of their own, and what is no message is
  refused (tests/net/test_mailbox.py).
- ``send-socket-to-worker-http-server``: nothing makes a socket that was sent a request's.
- ``worker-forced-exit``: a worker that loses its master drains, in any case; tests/faults.
- ``http-server-drop-connections-in-cluster``: what is over the limit waits, and isn't dropped.
- ``benchmark-cluster``: benchmarks/suite.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

import balancer
from balancer import (
    Disconnect,
    Exit,
    Fork,
    Listening,
    Message,
    Online,
    RunError,
    Server,
    State,
    Worker,
)
from tests.cluster.lab import APP, answer, ask, cluster, get, hold, listening, names, rest, until
from tests.net.children import count_fds

if TYPE_CHECKING:
    from pathlib import Path

    from balancer import Cluster, Event, Subscription

# -- lifecycle and events ---------------------------------------------------------------------


async def test_basic() -> None:
    """basic: every state and event, in order, with its arguments."""
    async with cluster(workers=0) as opened:
        events = opened.events()
        worker = opened.fork()
        states: list[tuple[type[Event], State, bool, bool]] = []

        def note(event: Event) -> None:
            assert event.worker is worker
            states.append((type(event), worker.state, worker.is_connected, worker.is_dead))

        note(await events.receive())
        note(await events.receive())
        event = await events.receive()
        note(event)
        assert isinstance(event, Listening)
        assert event.address == opened.addresses[0]
        assert opened.workers == {1: worker}
        worker.kill(signal.SIGKILL)
        note(await events.receive())
        note(await events.receive())
    assert [kind for kind, *_ in states] == [Fork, Online, Listening, Disconnect, Exit]
    assert [state for _, state, *_ in states[:3]] == [State.STARTING, State.STARTING, State.READY]
    assert [each[2:] for each in states[:3]] == [(True, False)] * 3
    assert states[4][1:] == (State.DEAD, False, True)


async def die(how: dict[str, Any] | signal.Signals, **settings: object) -> tuple[Worker, Exit]:
    """A worker that ends somehow; it is told of once, and has left no trace."""
    async with cluster(workers=0, **settings) as opened:
        events = opened.events()
        worker = opened.fork()
        await until(events, Listening)
        if isinstance(how, signal.Signals):
            worker.kill(how)
        else:
            await worker.send(how)
        seen = [await events.receive() for _ in range(2)]
        assert names(seen, worker) == ["Disconnect", "Exit"]
        assert not opened.workers
        assert worker.pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(worker.pid, 0)
    assert await rest(events) == []
    assert isinstance(seen[1], Exit)
    return worker, seen[1]


@pytest.mark.parametrize(
    ("how", "code", "number"),
    [
        pytest.param({"do": "exit", "code": 42}, 42, None, id="worker-exit"),
        pytest.param({"do": "exit", "code": 0}, 0, None, id="worker-death"),
        pytest.param(signal.SIGKILL, None, signal.SIGKILL, id="worker-kill-signal"),
        pytest.param(signal.SIGUSR1, None, signal.SIGUSR1, id="worker-kill"),
    ],
)
async def test_worker_end(
    how: dict[str, Any] | signal.Signals, code: int | None, number: signal.Signals | None
) -> None:
    """worker-exit, worker-death, worker-kill, worker-kill-signal: one of each event, and why."""
    worker, end = await die(how)
    assert (end.code, end.signal, end.exited_after_disconnect) == (code, number, False)
    assert worker.exited_after_disconnect is False
    assert (worker.process.exit_code, worker.process.signal) == (code, number)


async def test_kill_infinite_loop() -> None:
    """kill-infinite-loop: a worker that hears nothing is killed all the same."""
    async with cluster(workers=0) as opened:
        events = opened.events()
        worker = opened.fork()
        await until(events, Listening)
        await worker.send({"do": "spin"})
        worker.kill()  # this it never hears
        with trio.move_on_after(0.3):
            await worker.wait()
        assert not worker.is_dead
        worker.kill(signal.SIGKILL)
        assert (await worker.wait()).signal is signal.SIGKILL


async def test_kill_disconnect() -> None:
    """kill-disconnect: what was asked for is known as that at both events, by every way."""
    async with cluster(workers=0) as opened:
        events = opened.events()
        for way in ("master", "worker", "signal"):
            worker = opened.fork()
            await until(events, Listening)
            if way == "master":
                worker.disconnect()
            elif way == "worker":
                await worker.send({"do": "disconnect"})
            else:
                worker.kill()
            await until(events, Disconnect)
            assert worker.exited_after_disconnect is True
            assert (await until(events, Exit)).exited_after_disconnect is True
            assert (await worker.wait()).code == 0


async def test_worker_isconnected_and_isdead() -> None:
    """worker-isconnected, worker-isdead: from fork to exit."""
    async with cluster(workers=0) as opened:
        worker = opened.fork()
        assert (worker.is_connected, worker.is_dead) == (True, False)
        await opened.ready()
        assert (worker.is_connected, worker.is_dead) == (True, False)
        worker.disconnect()
        await worker.wait()
        assert (worker.is_connected, worker.is_dead) == (False, True)


async def test_worker_no_exit() -> None:
    """worker-no-exit: after disconnect() it stays while it has a connection."""
    async with cluster() as opened:
        await opened.ready()
        (worker,) = opened.workers.values()
        held = await hold(opened, opened.events())
        worker.disconnect()
        with trio.move_on_after(0.2):
            await worker.wait()
        assert not worker.is_dead
        assert worker.is_connected
        assert await worker.send({"do": "release"})
        assert await answer(held) == "1"
        assert (await worker.wait()).code == 0


PRIMARY = f"""
import os, signal, sys, trio, balancer
async def main():
    async with balancer.open_cluster({APP!r}, workers=2, bind="127.0.0.1:0") as cluster:
        await cluster.ready()
        print(*(worker.pid for worker in cluster.workers.values()), flush=True)
        if sys.argv[1] == "error":
            raise ZeroDivisionError("as told")
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.mark.parametrize("how", ["error", "SIGKILL", "SIGTERM", "SIGINT"])
def test_primary_error_and_primary_kill(how: str) -> None:
    """primary-error, primary-kill: however the program ends, its workers do too."""
    with subprocess.Popen(
        [sys.executable, "-c", PRIMARY, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as primary:
        said, error = primary.communicate(timeout=20)
    pids = [int(word) for word in said.split()]
    assert len(pids) == 2
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # else: it is about to end
            pidfd = os.pidfd_open(pid)
            try:
                assert _ended(pidfd)
            finally:
                os.close(pidfd)
    assert (b"ZeroDivisionError: as told" in error) == (how == "error")
    assert b"ExceptionGroup" not in error


def _ended(pidfd: int) -> bool:
    import select

    return bool(select.select([pidfd], [], [], 10)[0])


# -- graceful stop ----------------------------------------------------------------------------


async def test_disconnect() -> None:
    """disconnect: 8 workers with 2 servers, twice in the same process."""
    for _ in range(2):
        async with cluster(
            Server(APP, "127.0.0.1:0"), Server(APP, "127.0.0.1:0"), workers=8, preload=True
        ) as opened:
            await opened.ready()
            first = [await get(opened, address=0) for _ in range(8)]
            second = [await get(opened, address=1) for _ in range(8)]
            assert sorted(first) == sorted(second) == [str(number) for number in range(1, 9)]
            where = opened.addresses
            await opened.disconnect()
            assert not opened.workers
            for address in where:
                assert address.port is not None
                with pytest.raises(OSError, match="all attempts to connect"):
                    await trio.open_tcp_stream("127.0.0.1", address.port)


async def test_disconnect_with_no_workers() -> None:
    """disconnect-with-no-workers: returns."""
    async with cluster(workers=0) as opened:
        await opened.disconnect()
        await opened.disconnect()


async def test_disconnect_before_exit() -> None:
    """disconnect-before-exit: in that order, for a worker that exits when it is disconnected."""
    async with cluster(workers=0) as opened:
        events = opened.events()
        worker = opened.fork()
        await until(events, Online)
        worker.disconnect()  # before it is ready
        await worker.wait()
    assert names(await rest(events), worker)[-2:] == ["Disconnect", "Exit"]


async def test_concurrent_disconnect() -> None:
    """concurrent-disconnect: workers that are disconnected and die at the same time, by all."""
    async with cluster(workers=0, preload=True) as opened:
        events = opened.events()
        workers = [opened.fork() for _ in range(8)]
        await listening(events, 8)
        async with trio.open_nursery() as nursery:
            for worker in workers:
                nursery.start_soon(worker.send, {"do": "exit", "code": 0})
                worker.disconnect()
                worker.disconnect()
            nursery.start_soon(opened.disconnect)
    story = await rest(events)
    for worker in workers:
        assert names(story, worker) == ["Disconnect", "Exit"]


async def test_call_and_destroy() -> None:
    """call-and-destroy: kill and disconnect at once are one end."""
    async with cluster(workers=0) as opened:
        events = opened.events()
        worker = opened.fork()
        await until(events, Listening)
        worker.disconnect().kill()
        worker.kill()
        end = await worker.wait()
        assert (end.code, end.exited_after_disconnect) == (0, True)
        worker.disconnect().kill()  # of the dead: nothing


async def test_worker_disconnect_race() -> None:
    """disconnect-exitedAfterDisconnect-race, disconnect-race: both sides at the same time."""
    async with cluster(workers=0) as opened:
        events = opened.events()
        worker = opened.fork()
        await until(events, Listening)
        await worker.send({"do": "disconnect"})
        worker.disconnect()
        assert (await worker.wait()).exited_after_disconnect is True


async def test_shared_leak() -> None:
    """shared-leak, disconnect-leak: a worker with connections goes, and nothing of it stays."""
    async with cluster(workers=2) as opened:
        events = opened.events()
        await listening(events, 2)
        await get(opened)
        before = count_fds()
        for _ in range(3):
            worker = next(iter(opened.workers.values()))
            held = [await hold(opened, events) for _ in range(4)]
            worker.kill(signal.SIGKILL)
            await until(events, Exit, worker)
            await until(events, Listening)
            for worker in opened.workers.values():
                await worker.send({"do": "release"})
            for stream in held:
                with contextlib.suppress(trio.BrokenResourceError):
                    await answer(stream)
        assert count_fds() == before


# -- listening --------------------------------------------------------------------------------


async def test_bind_twice_and_eaddrinuse(tmp_path: Path) -> None:
    """bind-twice, eaddrinuse, eaccess: the second fails as a whole, and works after the first."""
    path = f"unix:{tmp_path}/sock"
    async with cluster(bind=["127.0.0.1:0", path]) as opened:
        taken = str(opened.addresses[0])
        for bind in (["127.0.0.1:0", taken], path):
            with pytest.raises(RunError, match="already in use"):
                async with cluster(bind=bind):
                    raise AssertionError
        await opened.ready()
        assert await get(opened, address=1) == "1"
    async with cluster(bind=[taken, path]) as opened:
        assert await get(opened) == "1"


async def test_listen_fd() -> None:
    """listen-fd-cluster: a listener that the program was given."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with cluster(bind=f"fd://{listener.fileno()}") as opened:
            assert opened.addresses[0].port == listener.getsockname()[1]
            assert await get(opened) == "1"


async def test_http_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """http-pipe, net-listen-relative-path: a relative path in a folder too deep for a whole one."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.chdir(folder)
    async with cluster(bind="unix:sock") as opened:
        assert str(opened.addresses[0]) == "unix:sock"
        assert await get(opened) == "1"
    assert list(folder.iterdir()) == []


async def test_worker_handle_close() -> None:
    """worker-handle-close: what a worker is handed after it has closed goes to another."""
    async with cluster(workers=2, recall=None) as opened:
        events = opened.events()
        first, second = await listening(events, 2)
        counts = []
        for _ in range(3):
            await first.send({"do": "block", "seconds": 0.1, "close": str(opened.addresses[0])})
            got = [await get(opened) for _ in range(4)]
            assert got.count(str(second.id)) >= 3
            counts.append((await ask(events, first, "about"))["fds"])
            assert await get(opened) == str(second.id)
            await first.send({"do": "listen", "address": str(opened.addresses[0])})
            await until(events, Listening, first)
        assert len(set(counts)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
async def test_bind_privileged_port() -> None:
    """bind-privileged-port, setupPrimary({uid}): the master, as root, binds what workers can't."""
    for port in (81, 82, 83):  # one of them is free
        with contextlib.suppress(RunError):
            async with cluster(bind=f"127.0.0.1:{port}", user="nobody") as opened:
                events = opened.events()
                (worker,) = await listening(events, 1)
                about = await ask(events, worker, "about")
                assert about["uid"] == 65534
                assert 0 not in about["groups"]
                assert await get(opened) == "1"
                return
    raise AssertionError("no privileged port is free")


# -- messages ---------------------------------------------------------------------------------


async def test_message() -> None:
    """message: both ways; a cluster's event names the worker."""
    async with cluster(workers=2) as opened:
        events = opened.events()
        workers = await listening(events, 2)
        for worker in workers:
            await worker.send({"do": "echo", "to": worker.id})
        heard = [await until(events, Message) for _ in workers]
        assert {(each.worker.id, str(each.data)) for each in heard} == {
            (worker.id, str({"to": worker.id})) for worker in workers
        }


async def test_advanced_serialization() -> None:
    """advanced-serialization: what msgspec knows; bytes stay bytes, structures become plain."""
    data = {"bytes": b"\0\xff", "large": 2**63, "deep": [[[None]]], "ü": 1.5}
    async with cluster() as opened:
        events = opened.events()
        (worker,) = await listening(events, 1)
        assert await ask(events, worker, "echo", **data) == data


async def test_send_handle_twice() -> None:
    """send-handle-twice, net-send: the same socket, again."""
    async with cluster() as opened:
        events = opened.events()
        (worker,) = await listening(events, 1)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for _ in range(2):
                await worker.send({"do": "echo"}, [theirs])
                message = await until(events, Message)
                message.sockets[0].sendall(b"x")
                message.drop()
            theirs.sendall(b"and the original")
            assert ours.recv(99) in {b"xxand the original", b"xx", b"x"}


# -- setup ------------------------------------------------------------------------------------


async def test_setup_primary() -> None:
    """setup-primary: settings are what they were set to."""
    async with cluster(workers=0, worker_connections=7, timeout="1m") as opened:
        assert (opened.settings.worker_connections, opened.settings.timeout) == (7, 60.0)
        assert opened.settings.workers == 0


async def test_setup_primary_argv_and_fork_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """setup-primary-argv, fork-env: arguments are the program's, variables each worker's own."""
    monkeypatch.setattr(sys, "argv", ["program", "--flag"])
    monkeypatch.setenv("INHERITED", "yes")
    async with cluster(workers=0, env={"BOTH": "cluster", "ALL": "1"}) as opened:
        events = opened.events()
        first, second = opened.fork({"BOTH": "worker"}), opened.fork()
        await opened.ready()
        envs = []
        for worker in (first, second):
            about = await ask(events, worker, "about")
            assert about["argv"] == ["program", "--flag"]
            envs.append(about["env"])
        assert [env["BOTH"] for env in envs] == ["worker", "cluster"]
        assert [env["ALL"] + env["INHERITED"] for env in envs] == ["1yes"] * 2
        assert "BOTH" not in os.environ


async def test_fork_stdio(capfd: pytest.CaptureFixture[str]) -> None:
    """fork-stdio: a worker's output is the program's, unless it is silent."""
    async with cluster() as opened:
        (worker,) = await listening(events := opened.events(), 1)
        assert worker.stdout is None
        await worker.send({"do": "print", "out": "out", "err": "err"})
        await ask(events, worker, "echo")
    said = capfd.readouterr()
    assert "out" in said.out
    assert "err" in said.err


async def opened_twice(opened: Cluster, events: Subscription[Event]) -> list[str]:
    """The story of a cluster to its end."""
    await opened.disconnect()
    return names(await rest(events))


async def test_two_clusters_at_once() -> None:
    """A cluster is an object here: two in one program know nothing of each other."""
    async with cluster() as first, cluster() as second:
        stories = [first.events(), second.events()]
        await first.ready()
        await second.ready()
        assert await opened_twice(first, stories[0]) == [
            "Fork", "Online", "Listening", "Disconnect", "Exit",
        ]  # fmt: skip
        assert await get(second) == "1"
        assert len(second.workers) == 1
        assert balancer.current_worker() is None
