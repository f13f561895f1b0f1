"""All workers die at once, under every policy: the port refuses nobody and loses no queue."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import (
    accept_queue,
    asking,
    pass_attempts,
    send,
    stopped,
    until,
    worker,
)
from tests.support import raw
from tests.support.client import InThread, Outcome, Plan
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import Status

POLICIES = ["round-robin", "least-connections", "shared", "reuseport"]
HARD = {Outcome.REFUSED, Outcome.TIMEOUT, Outcome.BAD_STATUS}


def _come_while_all_are_dead(server: BalancerServer) -> None:
    """Stopped and then killed: none of these has been acknowledged, so none may be lost."""
    pids = server.wait_ready(2)
    with stopped(*pids.values()), asking(server.port, 40) as clients:
        for pid in pids.values():
            send(pid, signal.SIGKILL)
        answers = [client.receive_response() for client in clients]
    assert {answer.status for answer in answers} == {200}
    assert not {answer.worker for answer in answers} & set(pids)


def _kill_all(server: BalancerServer) -> None:
    """And wait until as many have taken their places."""
    dead = server.wait_ready(2)
    for pid in dead.values():
        send(pid, signal.SIGKILL)
    server.wait_for(_all_new(set(dead)))


def _all_new(dead: set[int]) -> Callable[[Status], bool]:
    return lambda status: len(ready(status)) == 2 and not dead & set(ready(status))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_port_stays_and_loses_nobody(policy: str) -> None:
    with BalancerServer("--policy", policy, workers=2) as server:
        address = server.status()["listeners"][0]["address"]
        with InThread(Plan(port=server.port, rate=500, duration=60)) as load:
            pass_attempts(load, 50)
            for _ in range(3):
                _kill_all(server)
                pass_attempts(load, 50)
            report = load.stop()
        assert not HARD & set(report.outcomes), report.summary()
        _come_while_all_are_dead(server)
        assert server.status()["listeners"][0]["address"] == address
        assert raw.get(server.port).status == 200


def test_reuseport_loses_no_connection_that_waits_for_a_dead_worker() -> None:
    """Queued on the shard of a stopped worker, which is then killed: its successor serves them."""
    with BalancerServer("--policy", "reuseport", workers=2) as server:
        for _ in range(3):
            victim, survivor = server.wait_ready(2).items()
            before = worker(server.status(), survivor[0])["accepted"]
            with stopped(victim[1]), asking(server.port, 60) as clients:
                until(_all_placed(server, survivor[0], before + 60))
                waiting = accept_queue(server.port)
                assert waiting > 10
                send(victim[1], signal.SIGKILL)
                answers = [client.receive_response() for client in clients]
            assert {answer.status for answer in answers} == {200}
            assert sum(answer.worker != survivor[0] for answer in answers) <= waiting


def _all_placed(server: BalancerServer, survivor: int, total: int) -> Callable[[], bool]:
    """Everybody is with the survivor, or in the queue of the one that is stopped."""

    def check() -> bool:
        status: Status = server.status()
        accepted: int = worker(status, survivor)["accepted"]
        return accepted + accept_queue(server.port) == total

    return check


def test_reuseport_scales_down_without_losing_a_connection() -> None:
    with BalancerServer("--policy", "reuseport", workers=1) as server:
        with InThread(Plan(port=server.port, rate=800, duration=60)) as load:
            for _ in range(3):
                for number, workers in ((signal.SIGTTIN, 2), (signal.SIGTTOU, 1)):
                    server.signal(number)
                    server.wait_ready(workers)
                    pass_attempts(load, 80)
            report = load.stop()
        assert report.failed == 0, report.summary()


def test_a_drained_workers_shard_is_served_by_others() -> None:
    with BalancerServer("--policy", "reuseport", workers=2) as server:
        drained = min(server.workers)
        server.drain(drained)
        with asking(server.port, 40) as clients:
            answers = [client.receive_response() for client in clients]
        assert {answer.worker for answer in answers} == set(server.workers) - {drained}


def test_a_new_slots_shard_is_served_while_its_worker_boots() -> None:
    """Its worker never gets ready: the fork server is stopped."""
    with BalancerServer("--policy", "reuseport", workers=1) as server:
        with stopped(server.status()["forkserver"]["pid"]):
            server.signal(signal.SIGTTIN)
            server.wait_for(lambda status: len(status["workers"]) == 2)
            with asking(server.port, 40) as clients:
                assert {client.receive_response().worker for client in clients} == {1}
        server.wait_ready(2)
