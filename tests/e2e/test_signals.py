"""What signals do to a running server, and to the requests that are under way."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import ask, pass_attempts, taken_by, until, worker
from tests.support import raw
from tests.support.client import InThread, Plan
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from pathlib import Path


def test_term_finishes_requests_and_refuses_new_connections() -> None:
    with BalancerServer(workers=2) as server:
        with raw.RawConnection(server.port) as idle, ask(server.port, "/sleep/1") as client:
            until(lambda: sum(each["active"] for each in server.status()["workers"]) == 2)
            assert idle.get().status == 200
            server.signal(signal.SIGTERM)
            until(lambda: _refuses(server.port))
            assert client.receive_response().status == 200
            # An idle connection may still bring a request, which is its last.
            assert idle.closed_by_server(deadline=3)
        assert server.process.wait(5) == 0
        assert server.log_lines()[-1].endswith("stopped")


def test_a_reload_gives_requests_the_drain_timeout() -> None:
    patience = BalancerServer("--graceful-timeout", "0.2", workers=1)
    with patience as server, ask(server.port, "/sleep/3") as client:
        until(lambda: server.status()["workers"][0]["active"] == 1)
        server.signal(signal.SIGHUP)
        server.wait_for_line("reload: done")
        assert client.receive_response(deadline=10).status == 200


@pytest.mark.parametrize("policy", ["shared", "reuseport"])
def test_who_leaves_on_a_reload_takes_nobody_along(policy: str) -> None:
    """What waits on a listener is for the successor, not for a worker on its way out."""
    with BalancerServer("--policy", policy, workers=1) as server, contextlib.ExitStack() as stack:
        [(old, _)] = server.workers.items()
        blocker = stack.enter_context(ask(server.port, "/block/4"))
        # Accepted is not blocked: until its request has come, the worker accepts the next one.
        server.wait_for(lambda status: worker(status, old)["state"] == "stalled")
        waiting = [stack.enter_context(ask(server.port)) for _ in range(20)]
        server.signal(signal.SIGHUP)
        answered = {each.receive_response(deadline=10).worker for each in waiting}
        assert old not in answered
        assert blocker.receive_response(deadline=10).status == 200


def test_term_serves_who_has_been_accepted() -> None:
    """Also those that wait in the master's queue for blocked workers."""
    with BalancerServer(workers=2) as server, contextlib.ExitStack() as stack:
        blockers = [stack.enter_context(ask(server.port, "/block/0.7")) for _ in range(2)]
        until(lambda: sum(each["active"] for each in server.status()["workers"]) == 2)
        waiting = [stack.enter_context(ask(server.port)) for _ in range(30)]
        server.signal(signal.SIGTERM)
        answers = [each.receive_response().status for each in [*blockers, *waiting]]
        assert answers == [200] * 32


@pytest.mark.parametrize("policy", ["round-robin", "shared", "reuseport"])
def test_term_under_load_cuts_nobody(policy: str) -> None:
    """New connections are refused in the end; until then each one is answered."""
    with BalancerServer("--policy", policy, workers=2) as server:
        with InThread(Plan(port=server.port, rate=700, duration=60)) as load:
            pass_attempts(load, 200)
            server.signal(signal.SIGTERM)
            until(lambda: _refuses(server.port))
            report = load.stop()
        assert set(report.outcomes) <= {"ok", "refused"}, report.summary()


def _refuses(port: int) -> bool:
    try:
        raw.RawConnection(port).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_are_quick(number: signal.Signals) -> None:
    with BalancerServer(workers=2) as server, ask(server.port, "/sleep/60") as client:
        taken_by(server)
        server.signal(number)
        assert server.process.wait(10) == 0
        assert not [line for line in server.log_lines() if "didn't end in time" in line]
        with pytest.raises((EOFError, ConnectionResetError)):
            client.receive_response()


@pytest.mark.parametrize(
    ("request_", "waits"),
    [("/sleep/60", ()), ("/block/60", ()), ("/sleep/60", ("--drain-delay", "60"))],
    ids=["sleeping", "blocked", "drain delay"],
)
def test_a_second_signal_forces(request_: str, waits: tuple[str, ...]) -> None:
    with BalancerServer(*waits, workers=2) as server, contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(ask(server.port, request_))
        until(lambda: any(each["active"] for each in server.status()["workers"]))
        server.signal(signal.SIGTERM)
        server.wait_for_line("SIGTERM: stopping")
        server.signal(signal.SIGTERM)
        assert server.process.wait(4) == 0


def test_ttin_and_ttou_scale_under_load() -> None:
    with BalancerServer(workers=2) as server:
        with InThread(Plan(port=server.port, rate=500, duration=60)) as load:
            for _ in range(3):
                server.signal(signal.SIGTTIN)
                server.wait_ready(3)
                pass_attempts(load, 50)
                server.signal(signal.SIGTTOU)
                server.wait_for(lambda status: len(status["workers"]) == 2)
                pass_attempts(load, 50)
            assert server.command("scale", "5").returncode == 0
            server.wait_ready(5)
            pass_attempts(load, 50)
            assert server.command("scale", "1").returncode == 0
            server.wait_for(lambda status: len(status["workers"]) == 1)
            pass_attempts(load, 50)
            report = load.stop()
        assert report.failed == 0, report.summary()
        server.signal(signal.SIGTTOU)
        server.wait_for_line("scale 0: ")
        assert len(server.workers) == 1


def test_hup_during_a_roll_is_followed_by_exactly_one_more() -> None:
    with BalancerServer(workers=3) as server:
        server.signal(signal.SIGHUP)
        server.wait_for(lambda status: status["master"]["state"] == "reloading")
        for count in range(2, 5):
            server.signal(signal.SIGHUP)
            server.process.wait_for_lines("SIGHUP: rolling restart", count)
        server.wait_for(lambda status: status["master"]["state"] == "running")
        server.wait_for(lambda status: len(status["workers"]) == 3)
        rolls = [line for line in server.log_lines() if line.endswith("reload: done")]
        assert len(rolls) == 2
        assert set(server.workers) == {7, 8, 9}


def test_term_of_one_worker_drains_and_replaces_it() -> None:
    with BalancerServer(workers=2) as server, ask(server.port, "/sleep/0.7") as client:
        leaving = taken_by(server)
        server.kill(leaving, signal.SIGTERM)
        server.wait_for(lambda status: 3 in ready(status))
        assert worker(server.status(), leaving)["state"] == "draining"
        assert {raw.get(server.port).worker for _ in range(4)} == set(server.workers)
        assert client.receive_response().status == 200
        server.wait_for(lambda status: len(status["workers"]) == 2)
        server.wait_for_line(rf"worker {leaving} .* has left")


def test_interrupts_of_the_terminal_reach_only_the_master(tmp_path: Path) -> None:
    """^C, in a terminal of its own: the workers finish nothing less than the master wants."""
    control = str(tmp_path / "control")
    command = [sys.executable, "-m", "balancer", "serve", "-b", "127.0.0.1:0", "-w", "2"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*command, "--control", control])
    said = b""
    try:
        while b"ready: 2 workers" not in said:
            said += os.read(terminal, 4096)
        port = int(re.search(rb"listening on http://127.0.0.1:(\d+)", said)[1])  # type: ignore[index]
        assert raw.get(port).status == 200
        os.write(terminal, b"\x03")
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while piece := os.read(terminal, 4096):
                said += piece
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        pid = 0
    finally:
        os.close(terminal)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    text = said.decode()
    assert text.count("SIGINT: stopping") == 1
    assert "asked to stop again" not in text
    assert len(re.findall(r"worker \d .* has left", text)) == 2, text
    assert "Traceback" not in text
    assert "KeyboardInterrupt" not in text


def test_the_drain_delay_goes_on_accepting() -> None:
    with BalancerServer("--drain-delay", "0.7", workers=2) as server:
        start = monotonic()
        server.signal(signal.SIGTERM)
        server.wait_for_line("SIGTERM: stopping")
        assert raw.get(server.port).status == 200
        until(lambda: _refuses(server.port), deadline=3)
        assert monotonic() - start >= 0.7


def test_the_pid_file_names_the_master_and_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with BalancerServer("-p", str(path), workers=1) as server:
        assert int(path.read_text()) == server.pid
        second = subprocess.run(
            [sys.executable, "-m", "balancer", "serve", "-b", "127.0.0.1:0", "-p", str(path)],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        assert second.returncode == 1
        (line,) = second.stderr.splitlines()
        assert f"-p {path}" in line
        assert str(server.pid) in line
    assert not path.exists()


@pytest.mark.parametrize("policy", ["round-robin", "reuseport"])
def test_max_requests_recycles_without_errors(policy: str) -> None:
    args = ("--max-requests", "100", "--max-requests-jitter", "50", "--policy", policy)
    with BalancerServer(*args, workers=2) as server:
        fresh = Plan(port=server.port, rate=400, duration=60)
        kept = Plan(port=server.port, keep_alive=True, concurrency=10, pause=0.05, duration=60)
        with InThread(fresh) as load, InThread(kept) as eager:
            server.wait_for(lambda status: min(ready(status), default=0) > 6, deadline=20)
            reports = [load.stop(), eager.stop()]
        for report in reports:
            assert report.failed == 0, (report.summary(), report.failures)
        assert not [line for line in server.log_lines() if "ERROR" in line]
