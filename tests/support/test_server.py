"""The server helpers against a real Node, which has the same face as balancer."""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.support import raw
from tests.support.server import NodeServer, ready

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH"),
]


def test_a_server_starts_serves_and_leaves_nobody() -> None:
    with NodeServer(workers=2) as server:
        workers = server.workers
        assert list(workers) == [1, 2]
        answer = raw.get(server.port)
        assert workers[answer.worker] == answer.pid
        assert 0 in server.master_fds()
        family = server.process.family()
        assert set(workers.values()) < family
    assert server.process.family() == set()
    assert server.process.returncode == 0


def test_a_killed_worker_is_replaced_and_waited_for() -> None:
    with NodeServer(workers=2) as server:
        before = len(server.log_lines())
        killed = server.kill(1, signal.SIGKILL)
        line = server.wait_for_line(r"worker 3 .*ready", after=before)
        assert "ready" in line.text
        assert 3 in ready(server.wait_for(lambda status: len(ready(status)) == 2))
        assert killed not in server.workers.values()


def test_another_exit_code_than_expected_fails() -> None:
    server = NodeServer(workers=1)
    server.start()
    server.signal(signal.SIGKILL)
    server.process.wait(5)
    with pytest.raises(AssertionError, match="exit code -9"):
        server.__exit__(None, None, None)
    assert server.process.family() == set()
