"""Every front door does the same, before an upstream of its own, and both are gone afterwards."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from benchmarks.peers import MissingPeerError, NodeProxy, Peer, for_front_doors, for_proxy
from benchmarks.peers.nginx import LARGE, SMALL
from benchmarks.suite import BENCHMARKS
from tests.support import raw

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("peer", for_proxy([], []), ids=lambda peer: peer.name)
def test_a_front_door_has_both_pages_and_does_its_duties(peer: Peer) -> None:
    try:
        running = peer.start(2)
    except MissingPeerError as error:
        pytest.skip(f"{peer.name}: {str(error).splitlines()[0]}")
    with running, raw.RawConnection(running.port) as client:
        assert client.get("/").body == SMALL
        assert client.get("/large").body == b"x" * LARGE
        # Not everyone takes the upstream connection of the last request for the next one.
        seen = [client.get("/seen").body.split() for _ in range(4)]
    if peer.name != "upstream, directly":
        assert {tuple(words[1:3]) for words in seen} == {(b"127.0.0.1", b"http")}
    assert {words[0] for words in seen} == {b"test"}
    assert any(int(words[-1]) > 1 for words in seen)
    assert running.process.family() == set()


@pytest.mark.skipif(
    None in map(shutil.which, ("node", "nginx")), reason="node or nginx is not on PATH"
)
def test_node_says_that_its_upstream_is_gone() -> None:
    with NodeProxy().start(1) as running:
        running.end_behind()
        with raw.RawConnection(running.port) as client:
            assert client.get("/").status == 502


@pytest.mark.parametrize("peer", for_front_doors([], []), ids=lambda peer: peer.name)
def test_without_nginx_there_is_no_front_door(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPeerError, match="no upstream: nginx is not on PATH"):
        peer.start(1)


def test_goals_are_about_peers_that_are_measured() -> None:
    view = BENCHMARKS["proxy"].view
    names = {peer.name for peer in for_proxy([], [])}
    assert view.added is not None
    wanted = {n for floor in view.floors for n in (floor.subject, floor.other)}
    assert {view.added.baseline, *wanted} <= names
    metrics = {metric.key for metric in BENCHMARKS["proxy"].make().metrics}
    assert {*view.added.keys, *(floor.key for floor in view.floors)} <= metrics
    assert {ceiling.subject for ceiling in BENCHMARKS["idle"].view.ceilings} <= names
