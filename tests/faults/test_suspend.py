"""Stopped for longer than any timeout, as by a suspend or ``docker pause``: nobody is killed."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import ask, stopped, taken_by
from tests.support import raw
from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from tests.support.server import Status


def _pause(whole: bool, seconds: float, *args: str) -> None:
    with BalancerServer(*args, workers=3) as server:
        pids = server.workers
        family = list(server.process.family()) if whole else [server.pid]
        random.Random(3).shuffle(family)
        with ask(server.port, "/sleep/1", deadline=seconds + 10) as client:
            taken_by(server)
            before = len(server.log_lines())
            with stopped(*family):
                time.sleep(seconds)  # the pause itself
            assert client.receive_response().status == 200
        for _ in range(6):
            assert raw.get(server.port).status == 200
        # As long again as it takes to kill somebody whose clock had not been reset.
        server.wait_for(_beating)
        assert server.workers == pids
        assert not [line for line in server.log_lines()[before:] if "ended" in line]


def _beating(status: Status) -> bool:
    return all(
        each["state"] == "ready" and each["heartbeat_age_s"] == 0 for each in status["workers"]
    )


@pytest.mark.parametrize("whole", [True, False], ids=["everybody", "the master"])
def test_a_pause_kills_nobody(whole: bool) -> None:
    _pause(whole, 2.0, "-t", "1")


@pytest.mark.soak
@pytest.mark.parametrize("whole", [True, False], ids=["everybody", "the master"])
def test_a_long_pause_kills_nobody(whole: bool) -> None:
    _pause(whole, 40)
