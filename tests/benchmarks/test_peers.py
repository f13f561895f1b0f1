"""Every peer has the pages that the benchmarks ask for, from the workers that it was asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from benchmarks.apps import DOWNLOAD, HELLO
from benchmarks.loadgen import Plan, run
from benchmarks.peers import (
    Granian,
    Gunicorn,
    Hypercorn,
    MissingPeerError,
    Peer,
    RunningPeer,
    Uvicorn,
    for_fairness,
    for_speed,
)
from benchmarks.suite import BENCHMARKS
from tests.support import raw

if TYPE_CHECKING:
    from collections.abc import Iterator

PEERS: list[Peer] = [*for_speed([], []), Gunicorn("uvicorn-worker")]


@pytest.fixture(params=PEERS, ids=lambda peer: peer.name)
def peer(request: pytest.FixtureRequest) -> Iterator[RunningPeer]:
    try:
        running: RunningPeer = request.param.start(1)
    except MissingPeerError as error:
        pytest.skip(f"{request.param.name}: {str(error).splitlines()[0]}")
    with running:
        yield running


def test_a_peer_has_all_the_pages(peer: RunningPeer) -> None:
    with raw.RawConnection(peer.port) as client:
        assert client.get("/").body == HELLO
        client.send(raw.request("/sink", method="POST", body=bytes(2**20)))
        assert client.receive_response().body == b"1048576\n"
        assert len(client.get("/download").body) == DOWNLOAD
        _slow_process_takes_longer(client, "block")
        _slow_process_takes_longer(client, "burn")
    for page in ("/sleep/0.01", "/block/0.01", "/burn/0.01", "/block/0"):
        report = run(Plan(port=peer.port, path=page, count=3))
        assert (report.ok, report.failed) == (3, 0)
        assert {record.pid for record in report.records} <= peer.process.family()


def _slow_process_takes_longer(client: raw.RawConnection, page: str) -> None:
    pid = client.get(f"/{page}/0").pid
    since = time.monotonic()
    answer = client.get(f"/{page}/0.01?slow={pid}&times=20")
    assert time.monotonic() - since >= 0.2
    assert answer.body == f"{page}ed 0.01 s in pid {pid}\n".encode()


def test_names_are_different_and_floors_need_them() -> None:
    names = [peer.name for peer in for_speed([], [])]
    assert len(set(names)) == len(names)
    view = BENCHMARKS["serve"].view
    wanted = {*view.references, *(n for f in view.floors for n in (f.subject, f.other))}
    assert wanted <= set(names)
    fair = [peer.name for peer in for_fairness([], [])]
    assert len(set(fair)) == len(fair)


@pytest.mark.parametrize(
    "peer", [Uvicorn(fast=True), Granian(), Gunicorn("asgi"), Hypercorn()], ids=lambda p: p.name
)
def test_a_package_that_is_not_installed_is_a_missing_peer(
    peer: Uvicorn | Granian | Gunicorn | Hypercorn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "needs", ("no_such_package",))
    with pytest.raises(MissingPeerError, match=r"no_such_package not installed: pip install"):
        peer.start(1)
