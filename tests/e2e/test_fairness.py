"""The complaint that balancer exists for: slow requests that pile up on one worker."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support import raw
from tests.support.client import Plan, run
from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from collections.abc import Iterable

REQUESTS = 100
WORKERS = 5


def _assert_even(server: BalancerServer, pids: Iterable[int]) -> None:
    spread = Counter(pids)
    assert spread.total() == REQUESTS
    assert set(spread) == set(server.workers.values())
    assert set(spread.values()) <= {19, 20, 21}, spread


@pytest.mark.alone
@pytest.mark.parametrize("policy", ["round-robin", "least-connections"])
def test_a_burst_is_spread_evenly(policy: str) -> None:
    """A hundred requests that sleep, all at once, over five workers: twenty each.

    A worker that is ahead waits for the others, but no longer than 40 ms in all. So this holds
    while a worker that can run gets a core within 20 ms, and the waits of the burst stay below 40:
    measured, they add up to 5 to 15 ms, and to 30 with other programs on both cores.
    """
    with BalancerServer("--policy", policy, workers=WORKERS) as server:
        plan = Plan(port=server.port, path="/sleep/0.3", count=REQUESTS, concurrency=REQUESTS)
        report = run(plan)
        assert report.ok == REQUESTS, report.summary()
        _assert_even(server, (record.pid for record in report.records))


@pytest.mark.parametrize("policy", ["round-robin", "least-connections"])
def test_clients_that_come_one_by_one_and_stay_are_spread_evenly(policy: str) -> None:
    """A hundred connections, each opened when a worker has the one before it: twenty each."""
    with BalancerServer("--policy", policy, workers=WORKERS) as server, ExitStack() as stack:
        clients = []
        for number in range(1, REQUESTS + 1):
            clients.append(stack.enter_context(raw.RawConnection(server.port)))
            _await_active(server, number)
        for client in clients:
            client.send(raw.request("/sleep/0.1", close=True))
        _assert_even(server, [client.receive_response().pid for client in clients])


def _await_active(server: BalancerServer, count: int) -> None:
    server.wait_for(lambda status: sum(each["active"] for each in status["workers"]) == count)
