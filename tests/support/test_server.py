"""The server helpers: balancer and a real Node have the same face."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support import raw
from tests.support.client import InThread, Outcome, Plan
from tests.support.server import BalancerServer, NodeServer, Server, ready

if TYPE_CHECKING:
    from collections.abc import Callable

_needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH")


@pytest.fixture(
    params=[
        pytest.param(NodeServer, id="node", marks=[pytest.mark.node, _needs_node]),
        pytest.param(BalancerServer, id="balancer"),
    ]
)
def new_server(request: pytest.FixtureRequest) -> Callable[..., Server]:
    kind: Callable[..., Server] = request.param
    return kind


def test_a_server_starts_serves_and_leaves_nobody(new_server: Callable[..., Server]) -> None:
    with new_server(workers=2) as server:
        workers = server.workers
        assert list(workers) == [1, 2]
        answer = raw.get(server.port)
        assert workers[answer.worker] == answer.pid
        assert 0 in server.master_fds()
        assert set(workers.values()) < server.process.family()
    assert server.process.family() == set()
    assert server.process.returncode == 0


def test_a_killed_worker_is_replaced_and_waited_for(new_server: Callable[..., Server]) -> None:
    with new_server(workers=2) as server:
        before = len(server.log_lines())
        killed = server.kill(1, signal.SIGKILL)
        line = server.wait_for_line(r"worker 3 .*ready", after=before)
        assert "ready" in line.text
        assert 3 in ready(server.wait_for(lambda status: len(ready(status)) == 2))
        assert killed not in server.workers.values()


def test_another_exit_code_than_expected_fails(new_server: Callable[..., Server]) -> None:
    server = new_server(workers=1)
    server.start()
    server.signal(signal.SIGKILL)
    server.process.wait(5)
    with pytest.raises(AssertionError, match="exit code -9"):
        server.__exit__(None, None, None)
    assert server.process.family() == set()


def test_balancer_commands_reach_the_server() -> None:
    with BalancerServer(workers=2) as server:
        done = server.command("status", "--json")
        assert done.returncode == 0, done.stderr
        assert str(server.pid) in done.stdout
        assert server.command("drain", "99").returncode == 1


def test_every_bind_has_its_port() -> None:
    with BalancerServer(workers=1, binds=("127.0.0.1:0", "127.0.0.1:0")) as server:
        first, second = server.ports
        assert first != second
        assert raw.get(second).worker == 1


def test_a_load_survives_the_death_of_a_worker() -> None:
    with BalancerServer(workers=2) as server:
        plan = Plan(port=server.port, rate=300, duration=20)
        with InThread(plan) as load:
            load.wait_for_attempts(50)
            server.kill(1)
            server.wait_ready(2)
            report = load.stop()
        # What the dead worker had accepted is cut; nothing hangs and nothing is refused.
        cut = {Outcome.OK, Outcome.RESET, Outcome.EOF, Outcome.TRUNCATED}
        assert set(report.outcomes) <= {str(outcome) for outcome in cut}, report.summary()
        assert report.ok >= 50
