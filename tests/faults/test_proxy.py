"""Upstreams stop, die, hang and fail under load: what the clients see of it, counted."""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests.faults.lab import pass_attempts, send, stopped, until
from tests.faults.upstream import Upstream
from tests.support.client import InThread, Outcome, Plan
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 600
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


def nothing_failed(load: InThread) -> None:
    report = load.stop()
    assert report.failed == 0, report.summary()
    assert report.max_lag < 1.0, "the client was too slow to call this a load"


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
        assert any("5 failures in a row" in line for line in server.log_lines())


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
        server.wait_for_line("5 failures in a row: it gets no requests for 60 s")
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
            before = load.report.failed
            with stopped(victim):
                active = sum(
                    each["active"] for each in server.status()["workers"] if each["pid"] == victim
                )
                send(victim, signal.SIGKILL)
            pass_attempts(load, 200)
            assert load.report.failed - before <= active, load.report.summary()
        report = load.stop()
        assert set(report.outcomes) <= {Outcome.OK, *BROKEN}, report.summary()
        until(lambda: server.workers and len(server.workers) == 2)
        assert upstreams
