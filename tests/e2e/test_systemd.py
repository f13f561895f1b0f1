"""Under systemd, which a socket and a launcher of the tests stand in for."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import stopped
from tests.support import raw
from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENVIRONMENT = "tests.e2e.environment_app:app"
BALANCER = [sys.executable, "-m", "balancer"]


class Manager:
    """What the service says, in its order.

    A thread takes it at once: an AF_UNIX socket has room for ten messages.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._messages: queue.Queue[dict[str, str]] = queue.Queue()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        self._pump = threading.Thread(target=self._read)
        self._pump.start()

    def _read(self) -> None:
        while text := self._sock.recv(4096).decode():
            self._messages.put(dict(line.split("=", 1) for line in text.split("\n")))

    def hear(self, key: str, *, deadline: float = 10.0) -> dict[str, str]:
        """The next message that has this key; those before are dropped."""
        until = monotonic() + deadline
        while True:
            message = self._messages.get(timeout=max(0.001, until - monotonic()))
            if key in message:
                return message

    def hear_status(self, words: str) -> None:
        """Wait for a status with these words."""
        while words not in self.hear("STATUS")["STATUS"]:
            pass

    def drain(self) -> None:
        """Forget what has come by now."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._messages.get_nowait()

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RD)
        self._pump.join()
        self._sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def notified(
    manager: Manager, *, app: str | None = None, workers: int = 2, env: dict[str, str] | None = None
) -> BalancerServer:
    env = {"NOTIFY_SOCKET": str(manager.path), **(env or {})}
    return BalancerServer(app=app, workers=workers, env=env)


# -- sd_notify ------------------------------------------------------------------------------------


def test_ready_is_said_when_all_workers_are(manager: Manager) -> None:
    with notified(manager, workers=2) as server:
        message = manager.hear("READY")
        assert message["STATUS"] == "running: 2 of 2 workers ready, 0 connections queued"
        server.signal(signal.SIGHUP)
        message = manager.hear("RELOADING")
        assert int(message["MONOTONIC_USEC"]) > 0
        assert message["STATUS"].startswith("reloading: ")
        assert "READY" in manager.hear("READY")
        server.wait_for_line("reload: done")
        server.signal(signal.SIGTERM)
        assert manager.hear("STOPPING")["STATUS"].startswith("stopping: ")


def test_a_worker_that_is_not_ready_keeps_ready_back(manager: Manager) -> None:
    server = notified(manager, app="tests.e2e.environment_app:slow", workers=1, env={"SLOW": "1"})
    start = monotonic()
    with server:
        message = manager.hear("READY")
        assert monotonic() - start > 1
        assert message["READY"] == "1"


def test_a_dead_worker_is_seen_in_the_status(manager: Manager) -> None:
    with notified(manager, workers=2) as server:
        manager.hear("READY")
        with stopped(*server.workers.values()):
            manager.hear_status("0 of 2 workers ready")
        manager.hear_status("2 of 2 workers ready")


def test_the_watchdog_is_fed_also_when_every_worker_is_stopped(manager: Manager) -> None:
    with notified(manager, workers=1, env={"WATCHDOG_USEC": "400000"}) as server:
        manager.hear("READY")
        with stopped(*server.workers.values()):
            start = monotonic()
            for _ in range(4):
                manager.hear("WATCHDOG")
            assert monotonic() - start > 0.4  # not more often than it must be
        with stopped(server.pid):
            manager.drain()
            with pytest.raises(queue.Empty):
                manager.hear("WATCHDOG", deadline=0.5)


def test_nobody_else_is_the_service(manager: Manager) -> None:
    """Neither the workers nor what they start may speak for the master, or take its sockets."""
    env = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_PID": "1", "WATCHDOG_USEC": "9"}
    with notified(manager, app=ENVIRONMENT, workers=1, env=env) as server:
        found = raw.get(server.port).json
        assert isinstance(found, dict)
        assert not [name for name in found if re.match("LISTEN_|NOTIFY_|WATCHDOG_", name)]


def test_a_manager_that_is_not_there_is_no_reason_to_stop(tmp_path: Path) -> None:
    with BalancerServer(env={"NOTIFY_SOCKET": str(tmp_path / "none")}) as server:
        assert raw.get(server.port).status == 200
        server.signal(signal.SIGHUP)
        server.wait_for_line("reload: done")
        lines = [line for line in server.log_lines() if "systemd can't be told" in line]
        assert len(lines) == 1


# -- socket activation ----------------------------------------------------------------------------


def activated(*passed: str, binds: tuple[str, ...] = (), app: str | None = None) -> BalancerServer:
    """A server whose sockets are passed to it."""
    server = BalancerServer(binds=binds, app=app, workers=1)
    launcher = [sys.executable, "-m", "tests.support.activate", *passed, "--"]
    server.process.argv[:0] = launcher
    return server


def test_passed_sockets_are_the_binds(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with activated("127.0.0.1:0", f"unix:{path}", app=ENVIRONMENT) as server:
        [first, second] = server.process.wait_for_lines("listening on ", 2)
        port = int(first.text.rpartition(":")[2])
        assert second.text.endswith(f"unix:{path}")
        found = raw.get(port).json
        assert isinstance(found, dict)
        assert not [name for name in found if name.startswith("LISTEN_")]
    # it is systemd's to remove, and to serve again
    assert path.exists()


def test_a_bind_of_the_same_address_is_the_passed_socket(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    binds = (f"unix:{path}", "127.0.0.1:0")
    with activated(f"unix:{path}", binds=binds) as server:
        assert raw.get(server.port).status == 200
        lines = [line for line in server.log_lines() if "listening on" in line]
        assert lines[0].endswith(f"unix:{path}")
    assert path.exists()


def test_a_socket_that_no_bind_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    launcher = [sys.executable, "-m", "tests.support.activate", "--name", "web", f"unix:{path}"]
    done = subprocess.run(
        [*launcher, "--", *BALANCER, "serve", "-b", "127.0.0.1:8123"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        f"balancer: error: -b 127.0.0.1:8123: systemd has passed unix:{path} (web), which is none "
        "of these; leave the bind out, or change ListenStream= in the socket unit\n"
    )


def test_no_client_is_refused_across_a_restart(tmp_path: Path) -> None:
    """What connects between two servers waits in systemd's socket."""
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as held, socket.socket(socket.AF_UNIX) as client:
        held.bind(path)
        held.listen(16)
        client.connect(path)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        client.settimeout(10)
        fd = held.fileno()
        code = (
            f"import os, sys; os.dup2({fd}, 3); "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
            "os.execv(sys.executable, [sys.executable, '-m', 'balancer', 'serve', '-w', '1',"
            " '--no-control'])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], pass_fds=[fd], stderr=subprocess.DEVNULL
        )
        try:
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        finally:
            process.terminate()
            assert process.wait(10) == 0


# -- the unit -------------------------------------------------------------------------------------


def unit(*args: str) -> str:
    done = subprocess.run(
        [*BALANCER, "systemd", *args], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize(
    "args",
    [
        ("serve",),
        (
            "serve",
            "site:app",
            "-b",
            ":80",
            "-n",
            "a b%c",
            "--access-logfile",
            "/var/log/a b/5%.log",
        ),
        ("serve", "site:app", "-u", "nobody", "-b", "unix:/run/site/x.sock", "-m", "007"),
        ("proxy", "127.0.0.1:9000", "--admin", "127.0.0.1:9001", "--no-control"),
    ],
    ids=lambda args: " ".join(args[:4]),
)
def test_systemd_finds_no_fault_in_the_units(args: tuple[str, ...], tmp_path: Path) -> None:
    service, sock = tmp_path / "x.service", tmp_path / "x.socket"
    service.write_text(unit(*args))
    sock.write_text(unit("--socket", *args))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(service), str(sock)],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
