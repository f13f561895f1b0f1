"""A server that is process 1 of its own PID namespace, as in a container."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import until
from tests.support import raw
from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from collections.abc import Iterator

UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _works() -> bool:
    try:
        done = subprocess.run([*UNSHARE, "true"], capture_output=True, timeout=10, check=False)
    except OSError:
        return False
    return done.returncode == 0


pytestmark = pytest.mark.skipif(not _works(), reason="needs unshare, and the right to use it")


def contained(*args: str, app: str | None = None, expect_exit: int | None = 0) -> BalancerServer:
    """A server behind ``unshare``, whose exit code that passes on."""
    server = BalancerServer(*args, app=app, workers=1, expect_exit=expect_exit)
    server.process.argv[:0] = UNSHARE
    return server


def first_process(server: BalancerServer) -> int:
    """The pid, as seen from here, of what is process 1 in there."""
    [child] = children(server.pid)
    return child


def children(pid: int) -> list[int]:
    """Of all its threads: an orphan becomes some thread's."""
    lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for text in lists for child in text.split()]


@contextmanager
def stopping(server: BalancerServer) -> Iterator[int]:
    """A server that is stopped by a signal to process 1: ``unshare`` itself passes none on."""
    with server:
        pid = first_process(server)
        try:
            yield pid
        finally:
            os.kill(pid, signal.SIGTERM)
            server.process.wait(10)


def test_it_serves_and_stops() -> None:
    with stopping(contained()) as pid:
        assert Path(f"/proc/{pid}/status").read_text().count("NSpid") == 1


def test_a_reload_by_signal() -> None:
    server = contained()
    with stopping(server) as pid:
        os.kill(pid, signal.SIGHUP)
        server.wait_for_line("reload: done")


def test_orphans_are_reaped() -> None:
    server = contained(app="tests.e2e.orphans_app:app")
    with stopping(server) as pid:
        seen = int(raw.get(server.port).body)
        assert seen > 1
        until(lambda: len(children(pid)) == 2, what="the orphan has become process 1's")
        os.kill(orphan_of(pid), signal.SIGKILL)
        until(lambda: len(children(pid)) == 1, what="it is reaped")
        # who is waited for is still heard of
        os.kill(children(pid)[0], signal.SIGKILL)
        server.wait_for_line(r"the fork server \(pid \d+\) died")
        until(lambda: raw.get(server.port).status == 200)


def orphan_of(pid: int) -> int:
    [found] = [
        child
        for child in children(pid)
        if b"balancer.forkserver" not in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return found


def test_a_signal_before_there_are_handlers_is_not_lost() -> None:
    server = contained()
    server.process.start()
    try:
        until(lambda: children(server.pid) and holds_signals(first_process(server)))
        os.kill(first_process(server), signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert server.log_lines()[-1].endswith("stopped")
    finally:
        server.process.close()


def holds_signals(pid: int) -> bool:
    """Whether it is our doing: ``unshare`` blocks SIGTERM for a moment, too."""
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = next(line for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(blocked.split()[1], 16) & 1 << (signal.SIGHUP - 1))


def test_a_stop_before_the_workers_are_ready() -> None:
    server = contained(app="tests.e2e.environment_app:slow")
    server.process._env["SLOW"] = "60"
    server.process.start()
    try:
        server.wait_for_line("listening on")
        start = monotonic()
        os.kill(first_process(server), signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert monotonic() - start < 4
    finally:
        server.process.close()


@pytest.mark.parametrize(
    ("args", "code"), [(["no_such_module:app"], 4), (["-w", "0"], 2), (["-b", "unix:/"], 2)]
)
def test_exit_codes(args: list[str], code: int) -> None:
    argv = [*UNSHARE, sys.executable, "-m", "balancer", "serve", "-b", "127.0.0.1:0", *args]
    done = subprocess.run(argv, capture_output=True, timeout=30, check=False)
    assert done.returncode == code
