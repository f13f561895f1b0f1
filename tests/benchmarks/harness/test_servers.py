"""Servers stay up, and one that still has work of the last measurement is replaced."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, cast

import pytest

from benchmarks.harness.servers import Servers
from benchmarks.loads import LoadError
from benchmarks.peers import MissingPeerError, Peer, RunningPeer
from tests.benchmarks.servers import OneByOne

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.process import ServerProcess


class FakeRunning:
    """A running peer without a process."""

    master = os.getpid()

    def __init__(self, port: int) -> None:
        self.port = port
        self.closed = False
        self.process = self
        self.argv: list[str] = []

    def close(self) -> None:
        self.closed = True


class FakePeer(Peer):
    def __init__(self, name: str, port: int = 0) -> None:
        self.name = name
        self.port = port
        self.started: list[FakeRunning] = []
        self.broken = False

    def command(self, workers: int, folder: Path) -> list[str]:
        raise NotImplementedError

    def wait_started(self, process: ServerProcess) -> int:
        raise NotImplementedError

    def start(self, workers: int) -> RunningPeer:
        assert workers == 4
        if self.broken:
            raise MissingPeerError("did not start: no port")
        self.started.append(FakeRunning(self.port))
        return cast("RunningPeer", self.started[-1])


def test_peers_of_one_name_are_one_server_and_all_end() -> None:
    one, same, other = FakePeer("a"), FakePeer("a"), FakePeer("b")
    with Servers(4) as servers:
        servers.start([one, same, other])
        assert servers.get(one) is servers.get(same) is not servers.get(other)
    assert len(one.started) + len(same.started) == 1
    assert all(running.closed for running in one.started + same.started + other.started)


def test_a_server_that_has_work_left_is_replaced_or_missing() -> None:
    peer = FakePeer("a")
    with Servers(4) as servers:
        first = servers.get(peer)
        assert servers.get(peer) is first
        first.spoilt = True
        second = servers.get(peer)
        assert (second is first, peer.started[0].closed) == (False, True)
        second.spoilt = peer.broken = True
        for _ in range(2):
            with pytest.raises(MissingPeerError, match="no port"):
                servers.get(peer)


def test_what_the_harness_did_is_waited_for() -> None:
    peer = FakePeer("a")
    with Servers(4) as servers:
        until = servers.get(peer).busy_until = monotonic() + 0.05
        servers.get(peer)
        assert monotonic() >= until


def test_who_has_no_control_socket_is_asked_for_a_worker() -> None:
    body = b"blocked 0 s in pid 4321\n"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with OneByOne(answer) as one, Servers(4) as servers:
        server = servers.get(FakePeer("a", one.port))
        assert server.counters() is None
        assert server.some_worker() == 4321
    with OneByOne() as mute, Servers(4) as servers:
        server = servers.get(FakePeer("a", mute.port))
        with pytest.raises(LoadError, match="doesn't say which process"):
            server.some_worker()
