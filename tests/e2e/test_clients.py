"""Clients of every kind, and every address that one can listen on."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import asking, pass_attempts, readable, until
from tests.support import raw
from tests.support.client import InThread, Plan
from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from pathlib import Path


def test_a_client_that_never_reads_delays_neither_others_nor_the_stop() -> None:
    with (
        BalancerServer("--graceful-timeout", "1", workers=2) as server,
        ExitStack() as stack,
    ):
        for _ in range(4):
            deaf = stack.enter_context(raw.RawConnection(server.port, rcvbuf=4096))
            deaf.send(raw.request("/bytes/1000000000"))
        until(lambda: sum(each["active"] for each in server.status()["workers"]) == 4)
        with InThread(Plan(port=server.port, rate=300, duration=60)) as load:
            pass_attempts(load, 200)
            report = load.stop()
        assert report.failed == 0, report.summary()
        assert all((each["rss_bytes"] or 0) < 200e6 for each in server.status()["workers"])
        start = monotonic()
        server.finish()
        assert monotonic() - start < 5


def test_a_client_that_never_sends_is_told_so_and_let_go() -> None:
    with BalancerServer("--header-timeout", "0.5", workers=2) as server:
        with ExitStack() as stack:
            silent = [stack.enter_context(raw.RawConnection(server.port)) for _ in range(20)]
            silent[0].send(b"GET / HTTP/1.1\r\nHost:")
            assert {each.receive_response().status for each in silent} == {408}
        server.wait_for(lambda status: not any(each["active"] for each in status["workers"]))


def _typical(port: int) -> float:
    """Seconds that a request takes in the middle."""
    with InThread(Plan(port=port, rate=500, duration=60)) as load:
        pass_attempts(load, 300)
        report = load.stop()
    assert report.failed == 0, report.summary()
    return report.percentile(50)


def test_a_thousand_idle_connections_cost_the_others_nothing() -> None:
    with BalancerServer(workers=2) as server, ExitStack() as stack:
        alone = _typical(server.port)
        idle = [stack.enter_context(raw.RawConnection(server.port)) for _ in range(1000)]
        for each in idle:
            assert each.get().status == 200
        assert sum(each["active"] for each in server.status()["workers"]) == 1000
        # ten times, because what else runs on this machine may begin in between
        assert _typical(server.port) < 10 * alone + 0.01
        assert not readable(idle)
        assert {each.get().status for each in idle[::100]} == {200}
    # Leaving: they are closed within the second that each of them gets.


def test_clients_that_leave_before_they_are_served() -> None:
    with BalancerServer(workers=2) as server:
        with asking(server.port, 1, "/block/0.5") as _:
            for number in range(60):
                connection = raw.RawConnection(server.port)
                if number % 3:
                    connection.send(raw.request("/"))
                connection.reset() if number % 2 else connection.close()
        server.wait_for(lambda status: not any(each["active"] for each in status["workers"]))
        assert raw.get(server.port).status == 200
        assert not [line for line in server.log_lines() if "ERROR" in line]


def test_several_addresses_of_every_family(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    binds = ("127.0.0.1:0", f"unix:{path}", "[::1]:0", "127.0.0.1:0")
    with BalancerServer(workers=2, binds=binds) as server:
        first, sixth, second = server.ports
        assert len({first, sixth, second}) == 3
        # Each has a rotation of its own, so each begins with the same worker.
        head = raw.get(first).worker
        assert raw.get(second).worker == head
        assert raw.get(sixth, host="::1").worker == head
        assert f"Hello from worker {head}".encode() in _over_unix(path)
        addresses = [each["address"] for each in server.status()["listeners"]]
        assert addresses == [
            f"http://127.0.0.1:{first}",
            f"unix:{path}",
            f"http://[::1]:{sixth}",
            f"http://127.0.0.1:{second}",
        ]
    assert not path.exists()


def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with BalancerServer(workers=1, binds=(f"unix:{path}",)):
        assert b"Hello" in _over_unix(path)
    assert not path.exists()


def _over_unix(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(raw.request(close=True))
        answer = b""
        while piece := client.recv(4096):
            answer += piece
    return answer


@pytest.mark.parametrize("policy", ["round-robin", "shared"])
def test_an_inherited_socket(policy: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "balancer", "serve", "--no-control", "-w", "2"]
        server = subprocess.Popen(
            [*command, "--policy", policy, "-b", f"fd://{listener.fileno()}"],
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            # It was listening before the server was there: whoever comes waits.
            assert raw.get(port, deadline=10).status == 200
        finally:
            server.terminate()
            assert server.wait(10) == 0


def test_least_connections_goes_where_there_are_fewest() -> None:
    with BalancerServer("--policy", "least-connections", workers=3) as server:
        with ExitStack() as stack:
            # Held one after the other, they spread over all; then all but one's are let go.
            held, workers = zip(*[_hold(server, stack) for _ in range(9)], strict=True)
            assert sorted(workers) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
            for each, worker in zip(held, workers, strict=True):
                if worker != 1:
                    each.close()
            answers = []
            for _ in range(12):
                # A client sees the end of its answer before the worker has counted it: whoever
                # came back at once would still find itself there.
                server.wait_for(lambda status: sum(w["active"] for w in status["workers"]) == 3)
                answers.append(raw.get(server.port).worker)
        assert answers.count(1) == 0
        assert answers.count(2) == answers.count(3) == 6


def _hold(server: BalancerServer, stack: ExitStack) -> tuple[raw.RawConnection, int]:
    """A connection that stays, and who has it."""
    connection = stack.enter_context(raw.RawConnection(server.port))
    return connection, connection.get().worker


def test_round_robin_counts_no_open_connections() -> None:
    with BalancerServer(workers=3) as server, ExitStack() as stack:
        workers = [_hold(server, stack)[1] for _ in range(9)]
        assert workers == workers[:3] * 3
        assert sorted(workers[:3]) == [1, 2, 3]
