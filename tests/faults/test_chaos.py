"""Everything at once and at random: the master outlives it, and what is promised still holds.

The other fault tests hurt one thing and look closely; this one looks for what nobody thought of.
"""

from __future__ import annotations

import random
import signal
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import assert_fds_return, send
from tests.support.client import InThread, Outcome, Plan
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import Status

PAUSES = (0.0, 0.0, 0.01, 0.05, 0.1, 0.3)
ARGS = ("--graceful-timeout", "2", "--boot-timeout", "5", "-t", "2")


class _Monkey:
    """Does one cruel thing after another."""

    def __init__(self, server: BalancerServer, seed: int) -> None:
        self._server = server
        self._dice = random.Random(seed)
        self._stopped: list[int] = []

    def play(self, seconds: float) -> None:
        games: list[Callable[[Status], None]] = [
            lambda status: self._send(self._worker(status), signal.SIGKILL),
            lambda status: self._send(self._worker(status), signal.SIGKILL),
            lambda status: self._send(self._worker(status, "starting"), signal.SIGKILL),
            lambda status: self._send(self._worker(status), signal.SIGTERM),
            lambda status: self._send(self._worker(status), signal.SIGSTOP),
            lambda status: self._send(self._worker(status), signal.SIGSTOP),
            lambda status: self._send(_fork_server(status), signal.SIGKILL),
            lambda status: self._send(_fork_server(status), signal.SIGSTOP),
            self._kill_both,
            lambda _: self._continue_one(),
            lambda _: self._server.signal(signal.SIGHUP),
            self._grow,
            lambda _: self._server.signal(signal.SIGTTOU),
        ]
        end = monotonic() + seconds
        while monotonic() < end:
            self._dice.choice(games)(self._server.status())
            sleep(self._dice.choice(PAUSES))
        while self._stopped:
            self._continue_one()

    def _worker(self, status: Status, state: str = "") -> int:
        pids = [w["pid"] for w in status["workers"] if w["pid"] and state in w["state"]]
        return self._dice.choice(pids) if pids else 0

    def _send(self, pid: int, number: signal.Signals) -> None:
        if pid and send(pid, number) and number is signal.SIGSTOP:
            self._stopped.append(pid)

    def _grow(self, status: Status) -> None:
        if len(status["workers"]) < 8:
            self._server.signal(signal.SIGTTIN)

    def _kill_both(self, status: Status) -> None:
        self._send(self._worker(status), signal.SIGKILL)
        self._send(_fork_server(status), signal.SIGKILL)

    def _continue_one(self) -> None:
        if self._stopped:
            send(self._stopped.pop(), signal.SIGCONT)


def _fork_server(status: Status) -> int:
    return (status["forkserver"] or {}).get("pid") or 0


def _chaos(policy: str, seconds: float, seed: int) -> None:
    args = (*ARGS, "--policy", policy)
    with BalancerServer(*args, workers=3, stop_deadline=20) as server:
        baseline = server.master_fds()
        new = Plan(port=server.port, rate=400, duration=3600, timeout=15, keep_records=False)
        kept = Plan(
            port=server.port, keep_alive=True, concurrency=30, pause=0.5, duration=3600, timeout=15
        )
        with InThread(new) as load, InThread(kept) as thoughtful:
            _Monkey(server, seed).play(seconds)
            reports = [load.stop(), thoughtful.stop()]
        for report in reports:
            assert not {Outcome.REFUSED, Outcome.BAD_STATUS} & set(report.outcomes)
            assert not report.outcomes[Outcome.TIMEOUT], (report.summary(), report.failures)
        server.wait_for(lambda status: status["master"]["state"] == "running", deadline=30)
        # A stopped worker that was drained in time is as new again after a reload.
        assert server.command("scale", "3").returncode == 0
        assert server.command("reload").returncode == 0
        server.wait_for(_settled, deadline=60)
        assert_fds_return(server, baseline)
        assert "Traceback" not in "\n".join(server.log_lines())
        print(f"{policy}: " + "; ".join(report.summary() for report in reports))


def _settled(status: Status) -> bool:
    return (
        status["master"]["state"] == "running"
        and len(ready(status)) == 3
        and len(status["workers"]) == 3
    )


def test_chaos() -> None:
    _chaos("round-robin", seconds=4, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("policy", ["round-robin", "least-connections", "shared", "reuseport"])
def test_long_chaos(policy: str, seed: int) -> None:
    _chaos(policy, seconds=30, seed=seed)
