"""Troubles happen when they shall, and are over when the measurement is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, cast

import pytest

from benchmarks.harness.background import Background
from benchmarks.harness.trouble import trouble_for
from benchmarks.study.workloads import WORKLOADS
from tests.benchmarks.servers import OneByOne
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.harness.servers import Server


class FakeServer:
    """What a trouble needs of a server."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.busy_until = 0.0

    def as_server(self) -> Server:
        return cast("Server", self)


@pytest.fixture
def sleeper() -> Iterator[int]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child.pid
    child.communicate()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_stopped_worker_goes_on_whatever_happens(sleeper: int) -> None:
    server = FakeServer()
    trouble = trouble_for(WORKLOADS["stopped-worker"], server.as_server(), sleeper)
    with pytest.raises(KeyboardInterrupt), trouble as stopped:  # noqa: PT012 - a context's end
        stopped.begin(monotonic())
        await until(lambda: _state(sleeper) == "T")
        raise KeyboardInterrupt
    await until(lambda: _state(sleeper) in "SRD")
    assert server.busy_until > monotonic()


async def test_a_blocking_request_is_sent_once_for_a_short_measurement() -> None:
    with OneByOne() as one:
        server = FakeServer(one.port)
        with trouble_for(WORKLOADS["blocked-worker"], server.as_server(), 0) as blocked:
            blocked.begin(monotonic())
            await until(lambda: server.busy_until)
            await until(lambda: len(one._served) == 1)
    assert 1 < server.busy_until - monotonic() <= 2


class Failing(Background):
    def work(self) -> None:
        raise ValueError("no")


def test_what_goes_wrong_beside_a_measurement_is_not_lost() -> None:
    failing = Failing()
    with pytest.raises(ValueError, match="no"), failing:  # noqa: PT012 - it is raised at the end
        failing.begin(monotonic())
        failing._thread.join()
    with Failing():
        pass  # it never began
