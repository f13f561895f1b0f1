"""Upstreams stop, die, hang and fail under load: what the clients see of it, counted."""

from __future__ import annotations

import select
import signal
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import pass_attempts, send, stopped, until
from tests.faults.upstream import Upstream
from tests.support.client import InThread, Outcome, Plan
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 600
# Two workers that fail at one moment have both counted it before either adds up: that is six.
EJECTED = r"[56] failures in a row: it gets no requests for "
BROKEN = {Outcome.RESET, Outcome.EOF, Outcome.TRUNCATED}


@contextmanager
def front(*flags: str) -> Iterator[tuple[BalancerServer, InThread, list[Upstream]]]:
    """Three servers behind two workers, and a load that goes on until the test ends it."""
    with ExitStack() as stack:
        upstreams = [stack.enter_context(Upstream(str(number))) for number in (1, 2, 3)]
        addresses = [f"127.0.0.1:{each.port}" for each in upstreams]
        server = stack.enter_context(BalancerServer(*flags, workers=2, upstreams=addresses))
        plan = Plan(port=server.port, rate=RATE, duration=3600)
        load = stack.enter_context(InThread(plan))
        pass_attempts(load, 200)
        yield server, load, upstreams


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def nothing_failed(load: InThread) -> None:
    report = load.stop()
    assert report.failed == 0, report.summary()
    assert report.max_lag < 1.0, "the client was too slow to call this a load"


def failed(load: InThread) -> int:
    """What has failed so far; ``Report.failed`` counts what is in progress, too."""
    outcomes = dict(load.report.outcomes)
    return sum(count for outcome, count in outcomes.items() if outcome != Outcome.OK)


def test_a_graceful_stop_is_not_noticed() -> None:
    with front() as (_, load, upstreams):
        for upstream in upstreams:
            upstream.stop()
            pass_attempts(load, 150)
            upstream.start()
            pass_attempts(load, 50)
        nothing_failed(load)


def test_refused_connections_are_not_noticed() -> None:
    with front() as (server, load, upstreams):
        upstreams[0].stop()
        pass_attempts(load, 1000)
        nothing_failed(load)
        server.wait_for_line(EJECTED)


def test_a_kill_is_not_noticed() -> None:
    with front() as (_, load, upstreams):
        for upstream in upstreams:
            upstream.kill()
            pass_attempts(load, 150)
            upstream.start()
            pass_attempts(load, 50)
        nothing_failed(load)


def test_resets_before_the_answer_are_not_noticed() -> None:
    with front("--eject-after", "0") as (_, load, upstreams):
        for upstream in upstreams:
            upstream.behave("reset", 30)
            pass_attempts(load, 200)
        nothing_failed(load)


def test_resets_inside_the_answer_are_seen_by_those_that_were_hit() -> None:
    with front("--eject-after", "0") as (_, load, upstreams):
        for upstream in upstreams:
            upstream.behave("half", 10)
            pass_attempts(load, 200)
        report = load.stop()
        assert report.outcomes[Outcome.TRUNCATED] == report.failed == 30, report.summary()


def test_errors_pass_through_until_the_upstream_is_ejected() -> None:
    with front("--eject-time", "60s") as (server, load, upstreams):
        upstreams[1].behave("error", 10**6)
        server.wait_for_line(f"{EJECTED}60 s")
        pass_attempts(load, 50)
        served = upstreams[1].served()
        pass_attempts(load, 500)
        assert upstreams[1].served() == served
        report = load.stop()
        # five in a row, and what was on its way when the fifth came
        assert 5 <= report.outcomes[Outcome.BAD_STATUS] == report.failed <= 25, report.summary()


def test_a_killed_worker_takes_only_its_own_requests_along() -> None:
    with front() as (server, load, upstreams):
        for _ in range(3):
            victim = next(iter(ready(server.wait_for(lambda s: len(ready(s)) == 2)).values()))
            before = failed(load)
            with stopped(victim):
                active = sum(
                    each["active"] for each in server.status()["workers"] if each["pid"] == victim
                )
                send(victim, signal.SIGKILL)
            pass_attempts(load, 200)
            assert failed(load) - before <= active, load.report.summary()
        report = load.stop()
        assert set(report.outcomes) <= {Outcome.OK, *BROKEN}, report.summary()
        until(lambda: server.workers and len(server.workers) == 2)
        assert upstreams


@pytest.mark.alone
def test_max_holds_for_all_workers_together_and_nobody_is_turned_away() -> None:
    with ExitStack() as stack:
        upstreams = [stack.enter_context(Upstream(str(number))) for number in (1, 2)]
        texts = [f"127.0.0.1:{each.port},max=3" for each in upstreams]
        server = stack.enter_context(BalancerServer(workers=2, upstreams=texts))
        plan = Plan(port=server.port, concurrency=60, keep_alive=True, count=1500)
        with InThread(plan) as load:
            report = load.wait()
        assert report.failed == 0, report.summary()
        # 6 at a time, 10 ms each: 600 a second if no place is ever left empty
        assert report.seconds < 4.5, report.summary()
        assert [each.peak() for each in upstreams] == [3, 3]
        server.process.stop(signal.SIGTERM, deadline=10.0)
        assert not [line for line in server.log_lines() if "ERROR" in line]


def test_a_killed_workers_places_are_given_to_others() -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream("1"))
        text = f"127.0.0.1:{upstream.port},max=4"
        server = stack.enter_context(BalancerServer(workers=2, upstreams=[text]))
        plan = Plan(port=server.port, concurrency=40, keep_alive=True, duration=3600)
        with InThread(plan) as load:
            for _ in range(3):
                pass_attempts(load, 150)
                send(next(iter(server.wait_ready(2).values())), signal.SIGKILL)
            server.wait_ready(2)
            pass_attempts(load, 50)
            upstream.peak()  # it may still have worked for the dead when others got their places
            pass_attempts(load, 300)
            report = load.stop()
        assert set(report.outcomes) <= {Outcome.OK, *BROKEN}, report.summary()
        assert report.failed <= 3 * 40
        assert upstream.peak() == 4
        server.wait_for(lambda status: status["upstreams"][0]["active"] == 0)


def test_a_full_queue_and_a_long_wait_are_503s() -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream("1"))
        text = f"127.0.0.1:{upstream.port},max=1"
        flags = ("--upstream-queue", "2", "--upstream-queue-timeout", "100ms")
        server = stack.enter_context(BalancerServer(*flags, workers=2, upstreams=[text]))
        plan = Plan(port=server.port, concurrency=20, keep_alive=True, count=400)
        with InThread(plan) as load:
            report = load.wait()
        assert set(report.outcomes) == {Outcome.OK, Outcome.BAD_STATUS}, report.summary()
        assert upstream.peak() == 1
        with stopped(upstream.process.pid), ExitStack() as clients:
            # one of them has the place and hangs, the other one waits for it
            both = [clients.enter_context(connected(server.port)) for _ in range(2)]
            for each in both:
                each.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            (told,), _, _ = select.select(both, [], [], 5.0)
            answer = told.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 "), answer
        assert b"retry-after: 1\r\n" in answer
        assert b"no upstream had room for this request within 0.1 s (request " in answer


def test_one_that_hangs_takes_only_what_it_had_along() -> None:
    flags = (
        "--probe", "http:/served", "--probe-interval", "200ms", "--probe-timeout", "200ms",
        "--upstream-response-timeout", "1s", "--eject-after", "off",
    )  # fmt: skip
    with front(*flags) as (server, load, upstreams):
        with stopped(upstreams[1].process.pid):
            line = server.wait_for_line(f"{upstreams[1].port}.* down")
            pass_attempts(load, 600)
        server.wait_for_line(f"{upstreams[1].port}.* up", after=len(server.log_lines()) - 1)
        served = upstreams[1].served()
        pass_attempts(load, 100)
        assert upstreams[1].served() > served
        report = load.stop()
        assert report.failures, "some were there when it stopped"
        # 100 ms until every worker knows, and it is a busy machine
        late = [each for each in report.failures if each.start > line.at + 0.1]
        assert not late, report.summary()
        assert set(report.outcomes) == {Outcome.OK, Outcome.BAD_STATUS}, report.summary()
