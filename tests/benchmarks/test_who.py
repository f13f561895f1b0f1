"""Who serves is known by the answers, and by the process table where somebody never answers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

import pytest

from benchmarks.peers import MissingPeerError, Peer, RunningPeer, for_study
from benchmarks.peers.who import serving
from benchmarks.process import ProcessError
from tests.benchmarks.servers import OneByOne

if TYPE_CHECKING:
    from collections.abc import Iterator

PEERS = for_study([], [])
# Not the front doors, which test_farm asks, nor balancer by another policy.
ASKED = [peer for peer in PEERS if "+ uvicorn" not in peer.name and "least" not in peer.name]


@pytest.fixture(params=ASKED, ids=lambda peer: peer.name)
def running(request: pytest.FixtureRequest) -> Iterator[RunningPeer]:
    peer: Peer = request.param
    try:
        started = peer.start(3)
    except MissingPeerError as error:
        pytest.skip(f"{peer.name}: {str(error).splitlines()[0]}")
    with started:
        yield started
    assert started.process.family() == set()


def test_every_peer_of_the_study_tells_its_workers(running: RunningPeer) -> None:
    known = serving(running, 3)
    assert set(known) == running.workers()
    assert known == sorted(known)
    assert os.getpid() not in known


class _Fake:
    """The part of a running peer that `serving` asks."""

    def __init__(self, port: int, *workers: int) -> None:
        self.port = port
        self._workers = set(workers)

    def workers(self) -> set[int]:
        return self._workers


def _serving(fake: _Fake, workers: int) -> list[int]:
    return serving(cast("RunningPeer", fake), workers, times=2)


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def test_who_never_answers_is_found_in_the_process_table() -> None:
    with OneByOne(_answer(b"blocked 0.02 s in pid 7\n"), requests_each=1) as server:
        assert _serving(_Fake(server.port, 6, 7, 8), 3) == [6, 7, 8]
        assert _serving(_Fake(server.port), 1) == [7]


def test_not_as_many_as_were_started_is_said() -> None:
    with OneByOne(_answer(b"blocked 0.02 s in pid 7\n"), requests_each=1) as server:
        with pytest.raises(ProcessError, match="1 processes serve where 2 workers were started"):
            _serving(_Fake(server.port), 2)
        with pytest.raises(ProcessError, match="2 processes serve where 3 workers"):
            _serving(_Fake(server.port, 8), 3)


def test_another_answer_is_quoted() -> None:
    with (
        OneByOne(requests_each=1) as server,
        pytest.raises(ProcessError, match=r"was answered with b'HTTP/1\.1 200 OK"),
    ):
        _serving(_Fake(server.port), 1)


def test_names_are_different() -> None:
    names = [peer.name for peer in PEERS]
    assert len(set(names)) == len(names)
