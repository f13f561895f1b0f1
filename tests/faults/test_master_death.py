"""SIGKILL of the master: whatever its workers are doing, nobody is left behind."""

from __future__ import annotations

import contextlib
import signal

import pytest

from tests.faults.lab import APPS, ask, stopped, until
from tests.support import raw
from tests.support.server import BalancerServer

GRACEFUL = 1.0
DEADLINE = GRACEFUL + 2.0


@pytest.mark.parametrize("policy", ["round-robin", "reuseport"])
def test_nobody_outlives_the_master(policy: str) -> None:
    """Idle, sleeping, blocking, keeping the GIL and stopped: one worker each."""
    args = ("--graceful-timeout", "1", "--policy", policy)
    app = f"{APPS}holding()"
    with (
        BalancerServer(*args, workers=5, app=app, expect_exit=-signal.SIGKILL) as server,
        contextlib.ExitStack() as stack,
    ):
        busy: set[int] = set()
        for path in ("/sleep/60", "/block/60", "/gil/60"):
            busy.add(_occupy(server, stack, path, busy))
        idle = [pid for worker, pid in server.workers.items() if worker not in busy]
        stack.enter_context(stopped(idle[0]))
        server.signal(signal.SIGKILL)
        server.process.wait(5)
        left = server.process.survivors(deadline=DEADLINE)
        assert not left


def _occupy(server: BalancerServer, stack: contextlib.ExitStack, path: str, busy: set[int]) -> int:
    """Give a worker that isn't busy something to do; its id."""
    while True:
        connection = stack.enter_context(raw.RawConnection(server.port, deadline=1.0))
        try:
            worker = connection.get("/").worker
        except TimeoutError:  # under reuseport the kernel chose one that hangs
            connection.close()
            continue
        if worker not in busy:
            connection.send(raw.request(path))
            return worker


def test_requests_under_way_are_finished_without_a_master() -> None:
    with BalancerServer(workers=2, expect_exit=-signal.SIGKILL) as server:
        with ask(server.port, "/sleep/0.5") as client:
            until(lambda: any(each["active"] for each in server.status()["workers"]))
            server.signal(signal.SIGKILL)
            assert client.receive_response().status == 200
        server.process.wait(5)
        assert not server.process.survivors(deadline=5.0)
