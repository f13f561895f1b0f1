"""Front doors before servers of one process each: who answers, how they choose, who is left."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from benchmarks import measure
from benchmarks.apps import HELLO
from benchmarks.peers import (
    HaProxyFarm,
    MissingPeerError,
    NginxFarm,
    Peer,
    RunningPeer,
    Uvicorn,
    farm,
)
from benchmarks.peers.who import serving
from benchmarks.process import ServerProcess
from tests.support import raw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FARMS: list[NginxFarm | HaProxyFarm] = [
    NginxFarm("round-robin", 100),
    NginxFarm("least_conn", 100),
    HaProxyFarm("roundrobin", 100),
    HaProxyFarm("leastconn", 100),
    HaProxyFarm("leastconn", 100, at_once=1),
]


@pytest.fixture(params=FARMS, ids=lambda peer: peer.name)
def running(request: pytest.FixtureRequest) -> Iterator[RunningPeer]:
    try:
        started: RunningPeer = request.param.start(2)
    except MissingPeerError as error:
        pytest.skip(f"{request.param.name}: {str(error).splitlines()[0]}")
    with started:
        yield started
    assert started.process.family() == set()


def test_the_servers_behind_are_its_workers(running: RunningPeer) -> None:
    servers = running.workers()
    assert serving(running, 2) == sorted(servers)
    assert running.master not in servers
    assert {running.master, *servers} <= running.family()
    before = running.cpu()
    with raw.RawConnection(running.port) as client:
        assert client.get("/").body == HELLO
        assert client.get("/burn/0.1").pid in servers
        # It chooses per request, and who has none is alike: one connection gets to both.
        assert Counter(client.get("/block/0").pid for _ in range(8)).keys() == servers
    assert running.cpu().since(before) >= 0.1
    running.close()
    assert not servers & measure.processes().keys()


def test_one_at_a_time_waits_in_front_for_whoever_is_free() -> None:
    peer = HaProxyFarm("leastconn", 100, at_once=1)
    try:
        running = peer.start(2)
    except MissingPeerError as error:
        pytest.skip(str(error).splitlines()[0])
    with (
        running,
        raw.RawConnection(running.port) as blocker,
        raw.RawConnection(running.port) as client,
    ):
        blocker.send(raw.request("/block/0.5"))
        free = {client.get("/block/0.001").pid for _ in range(20)}
        assert free == running.workers() - {blocker.receive_response().pid}


@pytest.mark.parametrize("peer", FARMS, ids=lambda peer: peer.name)
def test_without_its_program_no_server_is_started(
    peer: NginxFarm | HaProxyFarm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(farm, "_start_together", pytest.fail)
    with pytest.raises(MissingPeerError, match=r"(nginx|haproxy) is not on PATH"):
        peer.start(2)


class _Broken(Peer):
    name = "broken"

    def command(self, workers: int, folder: Path) -> list[str]:  # noqa: ARG002 - never starts
        return ["false"]

    def wait_started(self, process: ServerProcess) -> int:
        return int(process.wait_for_line("never").text)


def test_servers_start_together_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[ServerProcess] = []
    start = ServerProcess.start

    def note(process: ServerProcess) -> None:
        started.append(process)
        start(process)

    monkeypatch.setattr(ServerProcess, "start", note)
    with pytest.raises(MissingPeerError, match="did not start"):
        farm._start_together([Uvicorn(fast=False), _Broken()])
    assert len(started) == 2
    assert all(process.family() == set() for process in started)
