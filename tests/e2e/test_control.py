"""What the commands do to a real server, and to the requests that it serves meanwhile."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from balancer.cli import main
from tests.faults.lab import ask, pass_attempts, stopped, until, worker
from tests.support import raw
from tests.support.client import InThread, Plan
from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from pathlib import Path


def run(server: BalancerServer, *args: str) -> Result:
    """A command, in this process: starting one costs more than all that it does."""
    return CliRunner().invoke(main, [*args, "--control", str(server.control)])


def told(server: BalancerServer, *args: str, code: int = 0) -> str:
    """What a command prints, which leaves with this exit code."""
    done = run(server, *args)
    assert done.exit_code == code, (args, done.exit_code, done.stdout, done.stderr)
    return (done.stderr if code else done.stdout).strip()


def as_json(server: BalancerServer, *args: str, code: int = 0) -> Any:  # noqa: ANN401 - JSON
    done = run(server, *args, "--json")
    assert (done.exit_code, done.stderr) == (code, ""), args
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "policy", ["round-robin", pytest.param("shared", marks=pytest.mark.soak), "reuseport"]
)
def test_a_worker_is_drained_and_resumed_under_load(policy: str) -> None:
    with BalancerServer("--policy", policy, workers=2) as server:
        with InThread(Plan(port=server.port, rate=400, duration=60)) as load:
            pass_attempts(load, 50)
            assert told(server, "drain", "1", "--wait") == "worker 1 is drained"
            status = server.status()
            assert [worker(status, each)["state"] for each in (1, 2)] == ["drained", "ready"]
            assert run(server, "status").exit_code == 0
            before = worker(status, 1)["accepted"]
            pass_attempts(load, 50)
            assert worker(server.status(), 1)["accepted"] == before
            assert told(server, "resume", "1") == "worker 1 is in service"
            assert worker(server.status(), 1)["state"] == "ready"
            until(lambda: worker(server.status(), 1)["accepted"] > before + 10)
        assert load.report.failed == 0, load.report.summary()


def test_a_drain_waits_for_what_the_worker_has() -> None:
    with BalancerServer(workers=1) as server, ask(server.port, "/sleep/1") as client:
        server.wait_for(lambda status: status["workers"][0]["active"] == 1)
        assert told(server, "drain", "1") == "draining worker 1"
        assert worker(server.status(), 1)["state"] == "draining"
        assert "waited 0.1 s" in told(server, "drain", "1", "--wait", "--timeout", "100ms", code=4)
        assert told(server, "drain", "1", "--wait") == "worker 1 is drained"
        assert client.receive_response().status == 200
        assert run(server, "status").exit_code == 1  # nobody is in service
        with ask(server.port) as waiting:
            told(server, "resume", "1")
            assert waiting.receive_response().worker == 1


def test_who_follows_a_drained_worker_is_in_service() -> None:
    with BalancerServer(workers=1) as server:
        told(server, "drain", "1", "--wait")
        os.kill(worker(server.status(), 1)["pid"], signal.SIGKILL)
        assert list(server.wait_ready(1)) == [2]
        told(server, "drain", "2", "--wait")
        told(server, "restart", "--wait")
        assert list(server.wait_ready(1)) == [3]
        assert "no such worker in service (there are: 3)" in told(server, "resume", "2", code=1)


def test_scale_and_restart_say_when_they_are_done() -> None:
    with BalancerServer(workers=1) as server:
        assert as_json(server, "scale", "+2", "--wait") == {
            "ok": True, "do": "scale", "by": 2, "workers": 3, "done": True,
        }  # fmt: skip
        assert list(server.workers) == [1, 2, 3]
        assert told(server, "scale", "-1", "--wait") == "scaled to 2 workers"
        assert [each["id"] for each in server.status()["workers"]] == [1, 2]
        assert told(server, "restart", "2", "--wait") == "worker 2 is replaced"
        assert list(server.workers) == [1, 4]
        assert told(server, "restart", "--wait") == "restarted"
        assert list(server.workers) == [5, 6]
        assert "there can be 1 to 1024 workers" in told(server, "scale", "-5", code=1)
        assert as_json(server, "restart", "99", code=1) == {
            "ok": False, "error": "restart 99: no such worker in service (there are: 5, 6)",
        }  # fmt: skip


def test_what_is_given_up_says_why(tmp_path: Path) -> None:
    """The app is broken while it runs: whoever asked for new workers hears of it."""
    app = tmp_path / "site_of_test.py"
    app.write_text("async def app(exchange): await exchange.respond(200, [], b'ok')\n")
    with BalancerServer("--app-dir", str(tmp_path), app="native:site_of_test:app") as server:
        app.write_text("import no_such_module\n")
        error = told(server, "restart", "--wait", code=1)
        assert "no new worker became ready in slot 1" in error
        assert "this one stays" in told(server, "restart", "1", "--wait", code=1)
        assert "has no worker that is ready" in told(server, "scale", "3", "--wait", code=1)
        status = server.status()
        assert "slot 1" in status["master"]["reload_error"]
        assert worker(status, 1)["state"] == "ready"
        assert raw.get(server.port).status == 200


def test_the_log_level_changes_everywhere() -> None:
    with BalancerServer(workers=1) as server:
        told(server, "log-level", "error")
        told(server, "scale", "2", "--wait")
        told(server, "restart", "--wait")
        told(server, "log-level", "info")
        told(server, "scale", "3", "--wait")
        server.wait_for_line(r"worker 5 .* is ready")
        said = re.compile("worker [234] .* is ready|restart: done")
        assert not list(filter(said.search, server.log_lines()))


def test_stop_waits_until_the_master_has_gone(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with BalancerServer("--pid", str(pid), workers=1) as server:
        assert told(server, "stop", "--wait") == "stopped"
        assert not pid.exists()
        assert server.process.wait(0) == 0


def test_a_second_stop_kills_and_both_hear_of_the_end() -> None:
    with BalancerServer(workers=1) as server, ask(server.port, "/block/30"):
        server.wait_for(lambda status: status["workers"][0]["state"] == "stalled")
        argv = [sys.executable, "-m", "balancer", "stop", "--wait", "--control"]
        first = subprocess.Popen([*argv, str(server.control)], stdout=subprocess.PIPE)
        server.wait_for(lambda status: status["master"]["state"] == "stopping")
        assert told(server, "stop", "--wait") == "stopped"
        assert first.communicate(timeout=5)[0] == b"stopped\n"


WEDGED = [
    "stop", "status", "reload", "reload --wait", "restart", "restart 1", "scale 3", "drain 1",
    "drain 1 --wait", "drain a:1", "resume 1", "resume a:1", "weight a:1 2", "log-level debug",
    "reopen", "upgrade", "upgrade --wait", "stop --wait",
]  # fmt: skip


def test_no_command_hangs_at_a_master_that_is_stopped() -> None:
    """With the last ones the socket's backlog is full, too."""
    with BalancerServer(workers=1, expect_exit=None) as server:
        with stopped(server.pid):
            for args in WEDGED:
                error = told(server, *args.split(), "--timeout", "50ms", code=4)
                assert error.startswith("balancer: error: the server at "), args
                assert "(waited 0.05 s)" in error, args
        # It goes on, and obeys: there was a ``stop``.
        server.process.wait(15)


def test_garbage_is_in_nobodys_way() -> None:
    rng = random.Random(4)
    with BalancerServer(workers=2) as server:
        with InThread(Plan(port=server.port, rate=400, duration=60)) as load:
            pass_attempts(load, 50)
            held = []
            for number in range(60):
                client = socket.socket(socket.AF_UNIX)
                client.connect(str(server.control))
                with suppress(BrokenPipeError, ConnectionResetError):
                    client.sendall(
                        rng.randbytes(rng.choice([1, 100, 70_000]))
                        if number % 3
                        else (b'{"do":"scale","workers":')
                    )
                if number % 20:
                    client.close()
                else:
                    held.append(client)  # a half message, and nothing after it
            assert run(server, "status").exit_code == 0
            pass_attempts(load, 100)
            for client in held:
                client.close()
        assert load.report.failed == 0, load.report.summary()
        assert list(server.workers) == [1, 2]


def test_usr1_usr2_and_winch_end_nobody() -> None:
    with BalancerServer(workers=1) as server:
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
            server.signal(number)
        server.wait_for_line("SIGUSR1: reopening the log files")
        server.wait_for_line("SIGUSR2: upgrading")
        assert raw.get(server.port).status == 200
