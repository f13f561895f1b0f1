"""The schedule doesn't wait for the server, and no request is forgotten."""

from __future__ import annotations

import gc
import socket
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from benchmarks.generator.loop import Loop
from benchmarks.generator.offer import Offer
from benchmarks.generator.schedule import parts
from benchmarks.generator.tally import gather
from benchmarks.study.service import Constant
from benchmarks.study.workloads import Clients
from tests.benchmarks.servers import OneByOne

if TYPE_CHECKING:
    from benchmarks.generator.offer import Harvest

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\nblocked 0 s in pid 77\n"
SHAPES = [(Clients.EACH_NEW, 0), (Clients.EACH_NEW, 2), (Clients.KEPT, 3), (Clients.UNEVEN, 3)]
NAMES = ["each new", "two at a time", "kept", "uneven"]


def run(
    port: int,
    clients: Clients = Clients.EACH_NEW,
    connections: int = 0,
    *,
    rate: float = 300.0,
    duration: float = 0.2,
    warm_up: float = 0.0,
    timeout: float = 5.0,
    late: float = 0.0,
) -> Harvest:
    """In this process; every request that was due must be in the account."""
    service = Constant(0.0)
    offer = Offer(
        port,
        rate,
        duration,
        service,
        clients=clients,
        connections=connections,
        warm_up=warm_up,
        timeout=timeout,
        processes=1,
        seed=3,
    )
    (part,) = parts(offer)
    harvest = gather(offer, [Loop(part).run(monotonic() - late)])
    assert harvest.due == harvest.answered + sum(harvest.errors.values())
    assert sum(harvest.requests.values()) == harvest.answered
    assert gc.isenabled()
    return harvest


@pytest.mark.parametrize(("clients", "connections"), SHAPES, ids=NAMES)
def test_every_request_is_answered_and_known_by_its_pid(clients: Clients, connections: int) -> None:
    with OneByOne(OK) as server:
        harvest = run(server.port, clients, connections, warm_up=0.05)
    assert 30 < harvest.due == harvest.answered
    assert set(harvest.requests) == {77}
    assert 0 < harvest.percentiles[50][1] <= harvest.percentiles[-1][1]
    opened = harvest.connections[77]
    if clients is Clients.EACH_NEW:
        assert opened == harvest.answered
    elif clients is Clients.KEPT:
        assert opened == 3
    else:
        assert 3 < opened < harvest.answered


@pytest.mark.parametrize(("clients", "connections"), SHAPES, ids=NAMES)
def test_who_was_due_in_a_stall_has_waited_for_it(clients: Clients, connections: int) -> None:
    with OneByOne(OK, stall=0.4) as server:
        harvest = run(server.port, clients, connections, rate=250.0, duration=0.6)
    # About 100 of 150 were due in the stall, and 50 of them in its first half: each of those has
    # waited for the other half at least.  A closed loop would have three such requests.
    tail = [seconds for step, seconds in harvest.percentiles if step >= 75]
    assert min(tail) >= 0.2
    assert not harvest.errors
    # It is the server's, not the generator's.
    assert harvest.lag_p99 < 0.2


def test_what_comes_after_the_schedule_is_answered_but_no_throughput() -> None:
    with OneByOne(OK, stall=0.4) as server:
        harvest = run(server.port, duration=0.2)
    assert (harvest.within, harvest.answered) == (0, harvest.due)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "status 503"),
        (OK + b"HTTP/1.1 200 OK", "more than asked for"),
    ],
)
@pytest.mark.parametrize("clients", [Clients.EACH_NEW, Clients.KEPT])
def test_other_answers_are_errors(answer: bytes, why: str, clients: Clients) -> None:
    with OneByOne(answer) as server:
        harvest = run(server.port, clients, 2, duration=0.1)
    assert harvest.answered == 0
    assert set(harvest.errors) == {why}


def test_what_is_not_answered_in_time_is_an_error() -> None:
    with OneByOne(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok") as server:
        harvest = run(server.port, Clients.KEPT, 2, duration=0.1, timeout=0.1)
    assert harvest.errors == {"timeout": harvest.due}


@pytest.mark.parametrize(("clients", "connections"), SHAPES, ids=NAMES)
def test_nobody_there_is_an_error_of_every_request(clients: Clients, connections: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    harvest = run(port, clients, connections, duration=0.1)
    assert harvest.errors == {"refused": harvest.due}


def test_a_connection_that_ended_between_requests_is_replaced() -> None:
    with OneByOne(OK, requests_each=5) as server:
        harvest = run(server.port, Clients.KEPT, 2, duration=0.3)
    # An end may also meet a request that was just sent; that one is an error.
    assert harvest.answered >= harvest.due * 0.7
    assert harvest.connections[77] >= harvest.answered // 5
    assert set(harvest.errors) <= {"eof", "reset"}


def test_a_connection_is_given_up_when_its_answer_says_so() -> None:
    with OneByOne(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)) as server:
        harvest = run(server.port, Clients.KEPT, 2)
    assert harvest.answered == harvest.due == harvest.connections[77]


def test_a_generator_that_is_late_says_that_it_measured_itself() -> None:
    with OneByOne(OK) as server:
        harvest = run(server.port, late=0.1)
    assert 0.05 < harvest.lag_p99 < harvest.percentiles[-1][1]
    assert "late or more, so this measured the generator" in harvest.saturated
