"""What systemd is told of each change, and how often."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from balancer.core.lifecycle import State
from balancer.master.notify import STATUS_PAUSE, Herald
from balancer.master.operations import Phase
from balancer.net.sdnotify import Notifier
from tests.master.watched import FakeWatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Systemd:
    """The other end."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.sock.bind(str(path))
        self.notifier = Notifier(str(path), watchdog=2.0)
        self.watch = FakeWatch()
        self.herald = Herald(self.notifier, self.watch)

    def heard(self) -> list[str]:
        """Every message since the last call."""
        found = []
        while True:
            try:
                found.append(self.sock.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path / "notify")
    yield made
    made.notifier.close()
    made.sock.close()


async def test_phases(systemd: Systemd) -> None:
    for phase, word in ((Phase.RUNNING, "READY=1"), (Phase.STOPPING, "STOPPING=1")):
        systemd.watch.change(phase=phase)
        systemd.herald.on_phase(phase)
        status = f"STATUS={phase.value}: 2 of 2 workers ready, 0 connections queued"
        assert systemd.heard() == [f"{word}\n{status}"]


async def test_each_request_to_reload_is_announced_with_its_time(systemd: Systemd) -> None:
    systemd.watch.change(phase=Phase.RELOADING)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    for _ in range(2):
        systemd.herald.on_phase(Phase.RELOADING)
        [message] = systemd.heard()
        first, moment, status = message.split("\n")
        assert (first, status.partition(":")[0]) == ("RELOADING=1", "STATUS=reloading")
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= now
        before = now


async def test_a_reload_that_was_given_up_is_told_in_one_line(systemd: Systemd) -> None:
    systemd.watch.change(reload_error="app x:\n can't be imported")
    systemd.herald.on_phase(Phase.RUNNING)
    [message] = systemd.heard()
    ready, status = message.split("\n")
    assert ready == "READY=1"
    assert status.endswith("; the last reload was given up: app x: can't be imported")


async def test_only_changes_are_told(
    systemd: Systemd,
    autojump_clock: object,  # noqa: ARG001
) -> None:
    systemd.herald.on_tick()
    assert systemd.heard() == ["STATUS=running: 2 of 2 workers ready, 0 connections queued"]
    systemd.herald.on_tick()
    assert systemd.heard() == []
    # that of a worker at once
    systemd.watch.change(workers={State.READY: 1, State.STALLED: 1})
    systemd.herald.on_tick()
    assert systemd.heard() == ["STATUS=running: 1 of 2 workers ready, 0 connections queued"]
    # that of the queue once a second
    for queued in range(1, 5):
        systemd.watch.change(queued=queued)
        systemd.herald.on_tick()
    assert systemd.heard() == []
    await trio.sleep(STATUS_PAUSE)  # by a clock that jumps
    systemd.herald.on_tick()
    assert systemd.heard() == ["STATUS=running: 1 of 2 workers ready, 4 connections queued"]


async def test_the_watchdog_hears_of_it_twice_in_its_time(
    systemd: Systemd,
    autojump_clock: object,  # noqa: ARG001
    nursery: trio.Nursery,
) -> None:
    nursery.start_soon(systemd.herald.pat)
    await trio.sleep(4.5)  # by a clock that jumps: at 0, 1, 2, 3 and 4 s
    assert systemd.heard() == ["WATCHDOG=1"] * 5


async def test_a_loop_that_does_not_move_is_not_covered_up(
    systemd: Systemd,
    autojump_clock: object,  # noqa: ARG001
    nursery: trio.Nursery,
) -> None:
    systemd.watch.stuck = True
    nursery.start_soon(systemd.herald.pat)
    await trio.sleep(10)  # by a clock that jumps
    assert systemd.heard() == []


async def test_what_finds_no_room_is_told_later(systemd: Systemd) -> None:
    while systemd.notifier.notify("STATUS=x"):
        pass
    systemd.herald.on_phase(Phase.RUNNING)
    systemd.herald.on_tick()
    assert set(systemd.heard()) == {"STATUS=x"}
    systemd.watch.change(queued=1)
    systemd.herald.on_tick()
    status = "STATUS=running: 2 of 2 workers ready, 1 connections queued"
    assert systemd.heard() == [f"READY=1\n{status}"]
    systemd.herald.on_tick()
    assert systemd.heard() == []
