"""The same scenarios against a real Node cluster and against balancer: the same sequences.

The scenarios are those of Node's round-robin, numbered as in our table of its behaviour: what real
Node 20 prints is the expectation, so Node's half proves that the scenario is right, and balancer's
half that balancer is.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.conformance import scenarios
from tests.conformance.scenarios import STUCK
from tests.support.server import BalancerServer, NodeServer, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    StartServer = Callable[[int], Server]

_BINDS = ("127.0.0.1:0", "127.0.0.1:0")


def _node(listeners: int) -> Server:
    return NodeServer(workers=3, listeners=listeners)


def _balancer(listeners: int) -> Server:
    # Node has no timed recall: with it off the rest has to be the same, connection by connection.
    return BalancerServer("--recall", "off", workers=3, binds=_BINDS[:listeners])


_needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH")


@pytest.fixture(
    params=[
        pytest.param(_node, id="node", marks=[pytest.mark.node, _needs_node]),
        pytest.param(_balancer, id="balancer"),
    ]
)
def start_server(request: pytest.FixtureRequest) -> StartServer:
    start: StartServer = request.param
    return start


def test_s1_an_idle_server_rotates(start_server: StartServer) -> None:
    with start_server(1) as server:
        assert scenarios.s1_sequential(server) == [1, 2, 3] * 4


def test_s3_a_blocked_worker_traps_exactly_one_connection(start_server: StartServer) -> None:
    with start_server(1) as server:
        shown, waited, answered_by, after = scenarios.s3_blocked(server)
    assert shown == [2, 3, STUCK, 2, 3, 2, 3, 2, 3, 2]
    assert answered_by == 1
    assert waited >= 1.9
    # `free` was [3, 2] when the blocked worker came back to its tail.
    assert after == [3, 2, 1, 3, 2, 1]


def test_s5a_the_replacement_joins_at_the_tail(start_server: StartServer) -> None:
    with start_server(1) as server:
        before, after = scenarios.s5a_killed_idle(server)
    assert before == [1, 2, 3, 1]
    assert after == [3, 1, 4, 3, 1, 4, 3, 1]


def test_s9a_a_draining_worker_leaves_the_rotation_and_finishes(start_server: StartServer) -> None:
    with start_server(1) as server:
        survivors, answer, broke_in = scenarios.s9a_drained(server)
    assert survivors == [3, 2, 3, 2, 3, 2]
    assert answer.status == 200
    assert not broke_in


def test_s11_ports_rotate_independently(start_server: StartServer) -> None:
    with start_server(2) as server:
        first, second, on_first, on_second = scenarios.s11_independent(server)
    assert on_first == (first * 2)[:5]
    assert on_second == (second * 2)[:5]


def test_s11_a_blocked_worker_traps_one_connection_per_port(start_server: StartServer) -> None:
    with start_server(2) as server:
        shown = scenarios.s11_blocked(server)
    for sequence in shown.values():
        assert sequence.count(STUCK) == 1
        assert 1 not in sequence


def test_s12b_open_connections_do_not_count(start_server: StartServer) -> None:
    with start_server(1) as server:
        assert scenarios.s12b_held(server) == [1, 2, 3] * 3
