"""Everything that an operator does to a running server, under load: nobody notices.

New connections and kept ones come all the time, a thousand requests a second or more together.
Reloads, scaling and upgrades lose nothing.  A worker that is killed takes what it had with it, and
nothing else: how much that was is counted while it is stopped, right before it is killed.
"""

from __future__ import annotations

import random
import signal
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import pass_attempts, send, stopped, until
from tests.support.client import InThread, Outcome, Plan, Report
from tests.support.server import ready
from tests.support.upgradable import Upgradable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOST = {Outcome.RESET, Outcome.EOF, Outcome.TRUNCATED}
WORKERS = 3


class _Operator:
    """Does one thing after another, in an order that chance has chosen."""

    def __init__(self, server: Upgradable, loads: list[InThread], seed: int) -> None:
        self._server = server
        self._loads = loads
        self._dice = random.Random(seed)
        self.killed_with = 0
        """Connections that killed workers had."""

    def work(self, *, reloads: int, scales: int, upgrades: int, kills: int, between: int) -> None:
        things: list[Callable[[], None]] = [
            *[self._reload] * reloads,
            *[self._scale] * scales,
            *[self._upgrade] * upgrades,
            *[self._kill] * kills,
        ]
        self._dice.shuffle(things)
        for each in things:
            each()
            pass_attempts(self._loads[0], between)

    def _reload(self) -> None:
        self._obey("reload", "--wait", "--timeout", "60s")

    def _scale(self) -> None:
        self._obey("scale", self._dice.choice(["2", "3", "4", "5", "+1", "-1"]))

    def _upgrade(self) -> None:
        self._obey("upgrade", "--wait", "--timeout", "60s")
        self._server.upgraded(drained=False)

    def _obey(self, *command: str) -> None:
        done = self._server.command(*command, deadline=90.0)
        assert done.returncode == 0, (command, done.stderr)

    def _kill(self) -> None:
        status = self._server.wait_for(ready)
        victim = self._dice.choice(list(ready(status).values()))
        # Stopped first, so that what it has is known and not estimated.
        with stopped(victim):
            rows = self._server.status()["workers"]
            self.killed_with += sum(each["active"] for each in rows if each["pid"] == victim)
            send(victim, signal.SIGKILL)


def _loads(port: int) -> Iterator[InThread]:
    yield InThread(Plan(port=port, rate=600, duration=3600, keep_records=False, timeout=20))
    for concurrency, pause in ((25, 0.05), (60, 0.8)):  # around the second that a drain gives
        yield InThread(
            Plan(
                port=port, keep_alive=True, concurrency=concurrency, pause=pause, duration=3600,
                keep_records=False, timeout=20,
            )
        )  # fmt: skip


def _operate(*, reloads: int, scales: int, upgrades: int, kills: int, between: int) -> None:
    with Upgradable(workers=WORKERS, stop_deadline=40) as server:
        baseline = server.master_fds()
        with ExitStack() as stack:
            loads = [stack.enter_context(each) for each in _loads(server.port)]
            pass_attempts(loads[0], 200)
            began = monotonic()
            operator = _Operator(server, loads, seed=1)
            operator.work(
                reloads=reloads, scales=scales, upgrades=upgrades, kills=kills, between=between
            )
            seconds = monotonic() - began
            reports = [each.stop() for each in loads]
        _judge(reports, operator.killed_with)
        assert server.command("scale", str(WORKERS)).returncode == 0
        server.wait_ready(WORKERS)
        # who took over has fewer than who was started, not the same
        until(lambda: _descriptors(server.master_fds()) <= _descriptors(baseline), deadline=15.0)
        rate = sum(report.outcomes.total() for report in reports) / seconds
        print(
            f"{reloads} reloads, {scales} scale changes, {upgrades} upgrades, {kills} kills in "
            f"{seconds:.0f} s at {rate:.0f} requests/s: "
            + "; ".join(report.summary() for report in reports)
            + f"; killed workers had {operator.killed_with} connections"
        )


def _descriptors(fds: dict[int, str]) -> int:
    """Without pipes: the workers in the place of those that died speak through them."""
    return sum(not fd.startswith("pipe:") for fd in fds.values())


def _judge(reports: list[Report], killed_with: int) -> None:
    for report in reports:
        assert set(report.outcomes) <= {Outcome.OK, *LOST}, (report.summary(), report.failures)
    failed = sum(report.failed for report in reports)
    assert failed <= killed_with, [(report.summary(), report.failures) for report in reports]


@pytest.mark.alone  # a thousand requests a second are all that the machine can do
def test_operating_under_load_while_workers_die() -> None:
    _operate(reloads=2, scales=2, upgrades=1, kills=4, between=100)


@pytest.mark.soak
def test_a_long_shift_loses_nothing() -> None:
    _operate(reloads=50, scales=20, upgrades=5, kills=0, between=500)


@pytest.mark.soak
def test_a_long_shift_with_kills_loses_what_was_killed() -> None:
    _operate(reloads=50, scales=20, upgrades=5, kills=200, between=300)
