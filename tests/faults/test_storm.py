"""Workers die and go under load: what was acknowledged by the dead is lost, and nothing else."""

from __future__ import annotations

import random
import signal

import pytest

from tests.faults.lab import assert_fds_return, pass_attempts, send, stopped, until
from tests.support.client import InThread, Outcome, Plan
from tests.support.server import BalancerServer, ready

RATE = 1000
LOST = {Outcome.RESET, Outcome.EOF, Outcome.TRUNCATED}


def _storm(kills: int, between: int) -> None:
    """SIGKILL random workers under new connections, one kill per ``between`` connections."""
    dice = random.Random(1)
    with BalancerServer(workers=3) as server:
        baseline = server.master_fds()
        acknowledged = 0
        plan = Plan(port=server.port, rate=RATE, duration=3600, keep_records=False)
        with InThread(plan) as load:
            pass_attempts(load, 200)
            for _ in range(kills):
                status = server.wait_for(ready)
                victim = dice.choice(list(ready(status).values()))
                # Stopped first, so that what it had acknowledged is known and not estimated.
                with stopped(victim):
                    acknowledged += sum(
                        each["active"]
                        for each in server.status()["workers"]
                        if each["pid"] == victim
                    )
                    send(victim, signal.SIGKILL)
                pass_attempts(load, between)
            report = load.stop()
        assert set(report.outcomes) <= {Outcome.OK, *LOST}, report.summary()
        assert report.failed <= acknowledged, f"{report.summary()}; acknowledged {acknowledged}"
        assert report.max_lag < 1.0, "the client was too slow to call this a storm"
        server.wait_ready(3)
        assert_fds_return(server, baseline)
        print(f"{kills} kills, {report.summary()}, at most {acknowledged} may be lost")


@pytest.mark.alone  # a thousand connections a second are all that the machine can do
def test_a_storm_of_kills() -> None:
    _storm(kills=20, between=100)


@pytest.mark.soak
def test_a_long_storm_of_kills() -> None:
    _storm(kills=250, between=300)


def _roll(rounds: int, between: int) -> None:
    """TERM one worker after the other, and every fourth time HUP: 0 errors of any kind.

    The pauses of the kept connections lie around the second that a draining worker gives them.
    """
    with BalancerServer(workers=3) as server:
        baseline = server.master_fds()
        new = Plan(port=server.port, rate=RATE, duration=3600, keep_records=False)
        idle = Plan(
            port=server.port, keep_alive=True, concurrency=100, pause=1.0, duration=3600, seed=2
        )
        busy = Plan(port=server.port, keep_alive=True, concurrency=20, pause=0.02, duration=3600)
        with InThread(new) as load, InThread(idle) as thoughtful, InThread(busy) as eager:
            pass_attempts(load, 200)
            for round_ in range(rounds):
                lines = len(server.log_lines())
                if round_ % 4 == 3:
                    server.signal(signal.SIGHUP)
                    server.wait_for_line("reload: done", after=lines)
                else:
                    oldest = min(server.wait_ready(3).items())[1]
                    assert send(oldest, signal.SIGTERM)
                    server.wait_for_line(rf"pid {oldest}\) has left", after=lines)
                pass_attempts(load, between)
            reports = [load.stop(), thoughtful.stop(), eager.stop()]
        for report in reports:
            assert report.failed == 0, (report.summary(), report.failures)
        server.wait_ready(3)
        until(lambda: len(server.status()["workers"]) == 3, what="the old workers have left")
        assert_fds_return(server, baseline)
        print(f"{rounds} rounds: " + "; ".join(report.summary() for report in reports))


def test_rolling_restarts_lose_nothing() -> None:
    _roll(rounds=4, between=100)


@pytest.mark.soak
def test_many_rolling_restarts_lose_nothing() -> None:
    _roll(rounds=80, between=500)
