"""The schedule does not wait for the server, and no request is forgotten."""

from __future__ import annotations

import gc
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.loads import LoadError
from benchmarks.openloop import Pace, run
from tests.benchmarks.servers import OneByOne


@given(rate=st.floats(0.1, 1e6), number=st.integers(0, 10**6))
def test_requests_are_due_at_even_distances(rate: float, number: int) -> None:
    pace = Pace(1, rate)
    assert pace.due(0) == 0.0
    assert pace.due(number + 1) - pace.due(number) == pytest.approx(1 / rate, rel=1e-3)


def test_every_request_has_its_latency() -> None:
    with OneByOne() as server:
        paced = run(Pace(server.port, rate=1000.0, count=50, connections=4))
    assert (len(paced.latencies), len(paced.lags), paced.errors) == (50, 50, 0)
    assert min(paced.latencies) > 0
    assert paced.percentile(50) <= paced.percentile(99.9) == max(paced.latencies)
    assert gc.isenabled()


def test_who_was_due_in_a_stall_has_waited_for_it() -> None:
    with OneByOne(stall=0.2) as server:
        paced = run(Pace(server.port, rate=200.0, count=50, connections=2))
    # Due every 5 ms: twenty of them in the first half of the stall, none of which was answered
    # before its end. A closed loop would have two.
    assert len([latency for latency in paced.latencies if latency >= 0.1]) >= 20
    assert paced.errors == 0
    assert max(paced.lags) >= 0.1


def test_a_connection_that_ended_between_requests_is_no_error() -> None:
    with OneByOne(requests_each=10) as server:
        paced = run(Pace(server.port, rate=500.0, count=40, connections=1))
    # The end may also meet a request that was just sent; that one is an error.
    assert len(paced.latencies) + paced.errors == 40
    assert len(paced.latencies) >= 30


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK",
    ],
    ids=["bad status", "more than asked for"],
)
def test_other_answers_are_errors(answer: bytes) -> None:
    with OneByOne(answer) as server:
        paced = run(Pace(server.port, rate=1000.0, count=5, connections=5))
    assert (paced.latencies, paced.errors) == ([], 5)


def test_what_is_not_answered_in_time_is_an_error() -> None:
    with OneByOne(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok") as server:
        paced = run(Pace(server.port, rate=1000.0, count=5, connections=2, timeout=0.1))
    assert (paced.latencies, paced.errors, len(paced.lags)) == ([], 5, 2)


def test_nobody_there_is_a_failed_load() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(LoadError, match=f"no connection to port {port}"):
        run(Pace(port))
