"""The fork server dies: its workers don't, nobody notices, and nobody is left behind."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.apps import BROKEN
from tests.faults.lab import (
    APPS,
    ask,
    fork_server,
    pass_attempts,
    send,
    stopped,
    taken_by,
    until,
)
from tests.support.client import InThread, Plan
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.server import Status


def _kill_fork_server(server: BalancerServer) -> None:
    """And wait until there is another one."""
    pid = fork_server(server)
    send(pid, signal.SIGKILL)
    server.wait_for(lambda status: (status["forkserver"] or {}).get("pid") not in {None, pid})


def test_its_death_fails_no_request_and_the_next_spawn_works() -> None:
    with BalancerServer(workers=3) as server:
        first = server.workers
        with InThread(Plan(port=server.port, rate=500, duration=60)) as load:
            pass_attempts(load, 100)
            for _ in range(3):
                _kill_fork_server(server)
                assert server.workers == first
                pass_attempts(load, 50)
            # One that leaves, and one that nobody will tell the exit code of.
            server.kill(1, signal.SIGTERM)
            server.wait_for(lambda status: set(ready(status)) == {2, 3, 4})
            pass_attempts(load, 50)
            report = load.stop()
        assert report.failed == 0, report.summary()
        before = len(server.log_lines())
        server.kill(2)
        server.wait_for(lambda status: set(ready(status)) == {3, 4, 5})
        server.wait_for_line("worker 2 .* died .*replaced", after=before)


def test_it_dies_together_with_a_worker() -> None:
    with BalancerServer(workers=2) as server:
        for _ in range(5):
            pid, dead = fork_server(server), max(server.wait_ready(2))
            send(server.workers[dead], signal.SIGKILL)
            send(pid, signal.SIGKILL)
            server.wait_for(_whole_again(pid, dead))


def _whole_again(old: int, dead: int) -> Callable[[Status], bool]:
    def check(status: Status) -> bool:
        pid = (status["forkserver"] or {}).get("pid")
        workers = ready(status)
        return pid not in {None, old} and len(workers) == 2 and dead not in workers

    return check


@pytest.mark.parametrize("between", ["nothing", "a respawn", "a reload"])
def test_nobody_outlives_a_dead_fork_server_and_a_dead_master(between: str) -> None:
    """The workers hang: they read no EOF, so somebody else has to end them."""
    with BalancerServer("--graceful-timeout", "1", workers=3, expect_exit=-9) as server:
        old = fork_server(server)
        with ask(server.port, "/sleep/60") as sleeper:
            taken_by(server)
            if between == "a reload":
                # That worker stays with its client: the old fork server stays for it.
                before = len(server.log_lines())
                server.signal(signal.SIGHUP)
                server.wait_for_line("reload: done", after=before)
                assert fork_server(server) != old
                send(old, signal.SIGKILL)
                server.wait_for_line("the fork server .* died", after=before)
            elif between == "a respawn":
                send(server.workers[3], signal.SIGKILL)
                _kill_fork_server(server)
                server.wait_ready(3)
            else:
                _kill_fork_server(server)
            for pid in server.process.family() - {server.pid, fork_server(server)}:
                send(pid, signal.SIGSTOP)
            server.signal(signal.SIGKILL)
            server.process.wait(5)
            assert not server.process.survivors(deadline=3.0)
            sleeper.close()


def test_the_master_stops_cleanly_right_after_its_death() -> None:
    with BalancerServer(workers=2) as server:
        send(fork_server(server), signal.SIGKILL)


def test_a_reload_that_fails_leaves_the_guarded_alive(tmp_path: Path) -> None:
    """The fork server that guards them retires; it would take them along when it goes."""
    broken = tmp_path / "broken"
    app, env = f"{APPS}breakable()", {BROKEN: str(broken)}
    with BalancerServer("--graceful-timeout", "0.5", workers=2, app=app, env=env) as server:
        pids = server.workers
        _kill_fork_server(server)
        broken.touch()
        assert server.command("reload").returncode == 0
        server.wait_for_line("reload: no new worker became ready")
        time.sleep(1.5)  # to see nothing happen
        assert server.workers == pids
        broken.unlink()
        assert server.command("reload").returncode == 0
        server.wait_for_line("reload: done")
        # Three have come; those that nobody needs any more have gone.
        until(lambda: len(server.process.family()) == 2 + 2)


def test_a_fork_server_that_hangs_makes_way_for_another() -> None:
    with BalancerServer("--boot-timeout", "1", workers=2) as server:
        pid = fork_server(server)
        with (
            stopped(pid),
            InThread(Plan(port=server.port, rate=300, duration=60)) as load,
        ):
            pass_attempts(load, 50)
            before = len(server.log_lines())
            server.kill(1, signal.SIGTERM)
            server.wait_for_line(r"worker 3 .* wasn't forked within 1 s", after=before)
            server.wait_ready(2)
            report = load.stop()
        assert report.failed == 0, report.summary()
        assert fork_server(server) != pid
        until(lambda: len(server.process.family()) == 4)


@pytest.mark.soak
def test_hundreds_of_workers_start_and_are_guarded() -> None:
    """More than its socket has room for, and more than fit into one message."""
    server = BalancerServer(
        "--graceful-timeout", "1", workers=280, expect_exit=-9, start_deadline=90
    )
    with server:
        _kill_fork_server(server)
        for pid in server.wait_ready(280).values():
            send(pid, signal.SIGSTOP)
        server.signal(signal.SIGKILL)
        server.process.wait(5)
        assert not server.process.survivors(deadline=6.0)
