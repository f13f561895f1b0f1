"""``USR2`` and ``balancer upgrade``: another master takes over, and nobody notices."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from balancer.cli.client import ask as ask_server
from balancer.cli.client import locate
from balancer.core.control import Reply, Upgrade
from balancer.errors import BalancerError
from benchmarks.process import ServerProcess
from tests.faults.lab import ask, pass_attempts, until
from tests.support import raw
from tests.support.client import InThread, Plan
from tests.support.server import BalancerServer, Status, ready
from tests.support.upgradable import Upgradable

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = Path(__file__).resolve().parents[2] / "balancer"
APP = """
import os, pathlib, time
while pathlib.Path("wait").exists():
    time.sleep(0.01)
async def app(exchange):
    await exchange.respond(200, [], b"Hello from worker %d (pid %d)" % (
        int(os.environ["BALANCER_WORKER_ID"]), os.getpid()))
"""


@contextlib.contextmanager
def under_load(server: BalancerServer) -> Iterator[InThread]:
    """New connections and kept ones, of which none may fail."""
    fresh = Plan(port=server.port, rate=300, duration=600)
    kept = Plan(port=server.port, keep_alive=True, concurrency=8, pause=0.02, duration=600)
    with InThread(fresh) as load, InThread(kept) as eager:
        pass_attempts(load, 50)
        yield load
        pass_attempts(load, 50)
        for each in (load, eager):
            report = each.stop()
            assert report.failed == 0, (report.summary(), report.failures)


@contextlib.contextmanager
def polled(server: BalancerServer) -> Iterator[list[Status]]:
    """Ask for the status all the time; each time there is an answer."""
    done = threading.Event()
    answers: list[Status] = []
    errors: list[BaseException] = []

    def poll() -> None:
        try:
            while not done.wait(0.005):  # leaves the server some of the processor
                answers.append(server.status())
        except BalancerError as error:
            errors.append(error)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield answers
    finally:
        done.set()
        thread.join()
    assert not errors


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with an app and a copy of the package, which a server in it imports."""
    shutil.copytree(_PACKAGE, tmp_path / "balancer")
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("policy", ["round-robin", "shared", "reuseport"])
def test_nobody_notices(policy: str) -> None:
    with Upgradable("--policy", policy, workers=2) as server, under_load(server):
        server.signal(signal.SIGUSR2)
        status = server.upgraded()
        assert set(ready(status)) == {3, 4}, "an id is never reused"
        assert server.process.wait(5) == 0


@pytest.mark.soak
def test_ten_in_a_row() -> None:
    with Upgradable(workers=2) as server, under_load(server):
        fds = 0
        for _ in range(10):
            server.signal(signal.SIGUSR2)
            server.upgraded()
            fds = fds or len(server.master_fds())
        until(lambda: len(server.master_fds()) <= fds + 2)
        assert len(server.process.family()) == 4  # master, fork server, workers


def test_to_another_version_and_not_to_a_broken_one(project: Path) -> None:
    """What the next start would run into costs a line in the log, and no client anything."""
    server = Upgradable(workers=2, app="native:main:app", cwd=project)
    main, package = project / "main.py", project / "balancer"
    with server, under_load(server):
        edit(package / "__init__.py", "__version__ = ", '__version__ = "9.8.7"  # ')
        assert server.upgrade() == Reply(ok=True, done=True)
        assert server.upgraded()["master"]["version"] == "9.8.7"

        def fails(path: Path, text: str) -> str:
            before = path.read_text()
            path.write_text(text)
            reply = server.upgrade()
            path.write_text(before)
            assert not reply.ok
            assert server.status()["master"]["pid"] == server.pid
            assert server.status()["master"]["state"] == "running"
            assert len(server.process.family()) == 4, "nobody is left of it"
            return str(reply.error)

        reason = fails(package / "master" / "ports.py", "def broken(:")
        assert re.search(r"^upgrade: the new master \(pid \d+\) exited with 1 before", reason)
        reason = fails(package / "__main__.py", "")
        assert "exited with 0 before it had taken over" in reason
        reason = fails(main, "import nowhere")
        assert "the new master can't take over: " in reason
        assert "No module named 'nowhere'" in reason
        main.write_text(APP + "# again\n")
        assert server.upgrade().ok
        server.upgraded()


def test_a_file_that_makes_no_sense_any_more(tmp_path: Path) -> None:
    config = tmp_path / "balancer.toml"
    config.write_text("backlog = 100\n")
    with Upgradable("-c", str(config), workers=1) as server:
        config.write_text("backlogg = 100\n")
        reply = server.upgrade()
        assert "backlogg" in str(reply.error), reply
        assert server.command("status").returncode == 0


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)]
)
def test_one_that_is_ended_half_way(number: signal.Signals, project: Path) -> None:
    server = Upgradable(workers=2, app="native:main:app", cwd=project)
    with server, under_load(server):
        (project / "wait").touch()
        server.signal(signal.SIGUSR2)
        found = server.wait_for_line(r"the new master is process \d+")
        heir = int(found.text.rpartition(" ")[2])
        server.process.wait_for_lines("listening on", 2)
        assert server.status()["master"]["state"] == "upgrading"
        os.kill(heir, number)
        line = server.wait_for_line("upgrade: .*; this server goes on").text
        assert ("was killed by SIGKILL" if number is signal.SIGKILL else "was stopped") in line
        (project / "wait").unlink()
        assert server.status()["master"]["state"] == "running"
        until(lambda: len(server.process.family()) == 4, what="nobody is left of it")


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("round-robin", marks=pytest.mark.soak),
        "shared",
        pytest.param("reuseport", marks=pytest.mark.soak),
    ],
)
def test_the_new_one_takes_over_when_the_old_one_is_killed(policy: str, project: Path) -> None:
    server = Upgradable(
        "--policy", policy, workers=1, app="native:main:app", cwd=project, expect_exit=-9
    )
    with server:
        (project / "wait").touch()
        server.signal(signal.SIGUSR2)
        server.process.wait_for_lines("listening on", 2)
        server.signal(signal.SIGKILL)
        server.wait_for_line("is dead: taking over without it")
        with ask(server.port) as client:  # waits
            (project / "wait").unlink()
            assert client.receive_response().status == 200
        server.upgraded()
        for _ in range(5):
            assert raw.get(server.port).status == 200


def test_what_is_in_progress_has_its_time() -> None:
    """The old master lives as long as its requests, and can be told to stop meanwhile."""
    with (
        Upgradable("--graceful-timeout", "0.3", workers=1) as server,
        ask(server.port, "/sleep/1.5") as client,
        ask(server.port, "/sleep/60") as endless,
    ):
        until(lambda: server.status()["workers"][0]["active"] == 2)
        old = server.pid
        server.signal(signal.SIGUSR2)
        status = server.upgraded(drained=False)
        assert status["master"]["leaving"] == [old]
        assert f"pid {old}" in server.command("status").stdout
        assert client.receive_response().status == 200
        os.kill(old, signal.SIGTERM)
        with pytest.raises((EOFError, ConnectionResetError)):
            endless.receive_response()
        assert server.process.wait(5) == 0
        assert raw.get(server.port).status == 200


def test_files_and_the_control_socket_are_passed_on(tmp_path: Path) -> None:
    path, pid = tmp_path / "web.sock", tmp_path / "pid"
    binds = ("127.0.0.1:0", f"unix:{path}")
    with Upgradable("-p", str(pid), workers=1, binds=binds) as server:
        inode = path.stat().st_ino
        with polled(server) as answers:
            server.signal(signal.SIGUSR2)
            server.upgraded()
        assert len(answers) > 5
        assert int(pid.read_text()) == server.pid
        assert path.stat().st_ino == inode
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    assert not path.exists()
    assert not pid.exists()


@pytest.mark.soak
def test_as_many_workers_as_are_wanted(tmp_path: Path) -> None:
    """Under reuseport, where every slot has listeners of its own, passed on or not."""
    config = tmp_path / "balancer.toml"
    server = Upgradable("--policy", "reuseport", "-c", str(config))
    argv = server.process.argv
    at = argv.index("-w")
    del argv[at : at + 2]

    def write(workers: int) -> None:
        config.write_text(f"workers = {workers}\n")

    write(3)
    with server, under_load(server):
        for workers in (1, 4):
            write(workers)
            server.signal(signal.SIGUSR2)
            server.upgraded()
            server.wait_ready(workers)
        server.signal(signal.SIGTTOU)
        server.wait_for(lambda status: len(status["workers"]) == 3)
        server.signal(signal.SIGUSR2)
        server.upgraded()
        assert len(server.wait_ready(3)) == 3, "scaled by hand, and configured as before"


def test_binds_come_and_go(tmp_path: Path) -> None:
    config, one, two = tmp_path / "balancer.toml", tmp_path / "one", tmp_path / "two"

    def write(path: Path) -> None:
        config.write_text(f'bind = ["127.0.0.1:0", "unix:{path}"]\n')

    write(one)
    with Upgradable("-c", str(config), workers=1, binds=()) as server:
        port = int(server.wait_for_line(r"listening on http").text.rpartition(":")[2])
        write(two)
        assert server.upgrade().ok
        server.upgraded()
        assert raw.get(port).status == 200
        assert two.exists()
        assert not one.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a pid namespace")
def test_process_1_is_not_replaced() -> None:
    """Its container would end with it."""
    server = Upgradable(workers=1)
    server.process.argv[:0] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with server:
        reply = server.upgrade()
        assert "upgrade: this server is process 1, and its container would end" in str(reply.error)
        assert raw.get(server.port).status == 200
        assert server.command("stop").returncode == 0
        server.process.wait(5)


def test_a_program_is_not_replaced(tmp_path: Path) -> None:
    script, control = tmp_path / "main.py", tmp_path / "control"
    script.write_text(
        "import balancer, trio\n"
        "async def main():\n"
        f"    where = {{'bind': '127.0.0.1:0', 'control': {str(control)!r}}}\n"
        "    async with balancer.open_cluster(workers=1, **where):\n"
        "        print('open', flush=True)\n"
        "        await trio.sleep_forever()\n"
        "if __name__ == '__main__':\n"
        "    trio.run(main)\n"
    )
    with ServerProcess([sys.executable, str(script)]) as program:
        program.wait_for_line("open")
        reply = ask_server(locate(None, str(control)), Upgrade(), 10.0)
        assert "upgrade: a server that is part of a program" in str(reply.error)
