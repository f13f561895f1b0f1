"""Every connection is accounted for, with the outcome it really had."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from benchmarks.loadgen import Load, Outcome, Plan, percentile, response_end, run
from tests.support.tiny import HELLO, read_request, reset, tiny_server


def _hello(sock: socket.socket, number: int) -> None:  # noqa: ARG001 - the server's signature
    while read_request(sock):
        sock.sendall(HELLO)


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_complete_answers_are_ok_and_name_their_worker() -> None:
    with tiny_server(_hello) as port:
        report = run(Plan(port=port, count=40, concurrency=4))
    assert report.outcomes == {Outcome.OK: 40}
    assert report.opened == report.attempts == 40
    assert report.by_worker == {1: 40}
    assert {record.pid for record in report.records} == {4321}
    assert report.failed == 0


def test_a_closed_port_refuses_every_attempt() -> None:
    report = run(Plan(port=_closed_port(), count=5))
    assert report.outcomes == {Outcome.REFUSED: 5}
    assert report.failed == 5


def _reset_early(sock: socket.socket, number: int) -> None:  # noqa: ARG001
    read_request(sock)
    reset(sock)


def _close_early(sock: socket.socket, number: int) -> None:  # noqa: ARG001
    read_request(sock)


def _cut_short(sock: socket.socket, number: int) -> None:  # noqa: ARG001
    read_request(sock)
    sock.sendall(HELLO[:-3])


def _reset_inside(sock: socket.socket, number: int) -> None:  # noqa: ARG001
    read_request(sock)
    sock.sendall(HELLO[:-3])
    sock.recv(1)  # the client closes at its deadline, or not at all


def _error(sock: socket.socket, number: int) -> None:  # noqa: ARG001
    read_request(sock)
    sock.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("handler", "outcome"),
    [
        (_reset_early, Outcome.RESET),
        (_close_early, Outcome.EOF),
        (_cut_short, Outcome.TRUNCATED),
        (_reset_inside, Outcome.TIMEOUT),
        (_error, Outcome.BAD_STATUS),
    ],
)
def test_each_way_to_fail_has_its_outcome(handler: object, outcome: Outcome) -> None:
    assert callable(handler)
    with tiny_server(handler) as port:
        report = run(Plan(port=port, count=6, concurrency=3, timeout=0.2))
    assert report.outcomes == {outcome: 6}
    assert report.failed == 6
    assert len(report.failures) == 6
    assert all(record.local.startswith("127.0.0.") for record in report.failures)


def test_a_connection_nobody_accepts_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        report = run(Plan(port=listener.getsockname()[1], count=2, timeout=0.1))
    assert report.outcomes == {Outcome.TIMEOUT: 2}


def test_mixed_outcomes_add_up() -> None:
    def every_third_dies(sock: socket.socket, number: int) -> None:
        read_request(sock)
        if number % 3 == 0:
            reset(sock)
        else:
            sock.sendall(HELLO)

    with tiny_server(every_third_dies) as port:
        report = run(Plan(port=port, count=30, concurrency=5))
    assert report.outcomes == {Outcome.OK: 20, Outcome.RESET: 10}


def test_kept_connections_carry_many_requests() -> None:
    with tiny_server(_hello) as port:
        report = run(Plan(port=port, count=60, concurrency=3, keep_alive=True))
    assert report.outcomes == {Outcome.OK: 60}
    assert report.opened == 3


def test_requests_per_connection_bounds_a_kept_connection() -> None:
    with tiny_server(_hello) as port:
        report = run(
            Plan(port=port, count=20, concurrency=1, keep_alive=True, requests_per_connection=5)
        )
    assert (report.opened, report.ok) == (4, 20)


def test_a_server_may_close_an_idle_kept_connection() -> None:
    def one_answer(sock: socket.socket, number: int) -> None:  # noqa: ARG001
        read_request(sock)
        sock.sendall(HELLO)

    with tiny_server(one_answer) as port:
        report = run(Plan(port=port, count=6, concurrency=2, keep_alive=True, pause=0.2))
    assert report.outcomes == {Outcome.OK: 6}
    assert report.idle_closed >= 4
    assert report.failed == 0


def test_a_reset_of_an_idle_kept_connection_is_a_failure() -> None:
    def answer_and_reset(sock: socket.socket, number: int) -> None:  # noqa: ARG001
        read_request(sock)
        sock.sendall(HELLO)
        sock.settimeout(0.02)
        try:
            sock.recv(1)
        except TimeoutError:
            reset(sock)

    with tiny_server(answer_and_reset) as port:
        report = run(Plan(port=port, count=2, concurrency=1, keep_alive=True, pause=0.5, seed=1))
    assert report.ok == 2
    assert report.failed == report.idle_reset >= 1


def test_connection_close_in_the_answer_is_obeyed() -> None:
    closing = HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)

    def says_close(sock: socket.socket, number: int) -> None:  # noqa: ARG001
        read_request(sock)
        sock.sendall(closing)
        assert sock.recv(1) == b""

    with tiny_server(says_close) as port:
        report = run(Plan(port=port, count=4, concurrency=1, keep_alive=True))
    assert (report.opened, report.ok) == (4, 4)


def test_an_open_loop_keeps_its_rate() -> None:
    with tiny_server(_hello) as port:
        report = run(Plan(port=port, rate=200, duration=0.5))
    # 0.5 s at 200/s; the machine may be busy, but a schedule can't run ahead.
    assert 50 <= report.attempts <= 101
    assert report.failed == 0


def test_stop_waits_for_what_is_under_way() -> None:
    go_on = threading.Event()

    def slow(sock: socket.socket, number: int) -> None:  # noqa: ARG001
        read_request(sock)
        assert go_on.wait(5)
        sock.sendall(HELLO)

    with tiny_server(slow) as port:
        load = Load(Plan(port=port, duration=60, concurrency=3))
        thread = threading.Thread(target=load.run)
        thread.start()
        load.stop()
        go_on.set()
        thread.join(5)
    assert not thread.is_alive()
    assert load.report.failed == 0


def test_a_report_survives_json() -> None:
    with tiny_server(_hello) as port:
        report = run(Plan(port=port, count=3))
    form = json.loads(json.dumps(report.as_dict(records=True)))
    assert form["outcomes"] == {"ok": 3}
    assert len(form["records"]) == 3


def test_an_unbounded_plan_is_refused() -> None:
    with pytest.raises(ValueError, match="count or a duration"):
        Plan(port=1)


def test_an_unaccounted_attempt_is_noticed() -> None:
    with tiny_server(_hello) as port:
        report = run(Plan(port=port, count=1))
    report.attempts += 1
    with pytest.raises(AssertionError, match="2 attempts"):
        report.check()


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("message", [HELLO, CHUNKED])
def test_a_response_ends_where_its_framing_says(message: bytes) -> None:
    assert all(response_end(message[:cut]) is None for cut in range(len(message)))
    assert response_end(message) == len(message)
    assert response_end(message + b"HTTP/1.1 200 OK\r\n") == len(message)


def test_a_body_is_posted_and_what_comes_is_counted() -> None:
    bodies = []

    def count(sock: socket.socket, number: int) -> None:  # noqa: ARG001
        head, _, body = read_request(sock).partition(b"\r\n\r\n")
        while len(body) < 200_000:
            body += sock.recv(65536)
        bodies.append((head.split(b" ")[0], len(body)))
        sock.sendall(HELLO)

    with tiny_server(count) as port:
        report = run(Plan(port=port, count=2, body=200_000))
    assert bodies == [(b"POST", 200_000)] * 2
    assert (report.ok, report.received) == (2, 2 * len(HELLO))


def test_percentile_is_nearest_rank() -> None:
    assert percentile([], 50) == 0.0
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([float(n) for n in range(100)], 99) == 99.0
