"""A warm peer is another one that has answered, and goes when it can't."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.loadgen import Plan, run
from benchmarks.peers import Balancer, Granian, MissingPeerError, Peer, RunningPeer, Uvicorn, warm
from benchmarks.peers.base import await_listener, free_port
from benchmarks.peers.warm import Warm
from benchmarks.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ServerProcess]]:
    """All that were started; every one must be gone at the end."""
    started: list[ServerProcess] = []
    start = ServerProcess.start

    def note(process: ServerProcess) -> None:
        started.append(process)
        start(process)

    monkeypatch.setattr(ServerProcess, "start", note)
    yield started
    assert started
    assert all(process.family() == set() for process in started)


@pytest.mark.usefixtures("processes")
def test_all_workers_have_answered_before_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Plan] = []
    asked: list[tuple[RunningPeer, int]] = []

    def note(plan: Plan) -> object:
        plans.append(plan)
        return run(plan)

    monkeypatch.setattr(warm, "run", note)
    monkeypatch.setattr(warm, "serving", lambda running, workers: asked.append((running, workers)))
    with Warm(Uvicorn(fast=False), each=5).start(2) as running:
        assert asked == [(running, 2)]
    assert [(plan.port, plan.count, plan.path) for plan in plans] == [
        (running.port, 10, "/block/0.001")
    ]


class _Silent(Peer):
    """It listens and answers nobody with 200."""

    name = "silent"

    def command(self, workers: int, folder: Path) -> list[str]:  # noqa: ARG002 - it has none
        self._port = free_port()
        return ["python3", "-m", "http.server", "-b", "127.0.0.1", str(self._port)]

    def wait_started(self, process: ServerProcess) -> int:  # noqa: ARG002 - it logs late
        await_listener(self._port, 10.0)
        return self._port


@pytest.mark.usefixtures("processes")
def test_who_fails_the_first_requests_is_missing_and_gone() -> None:
    with pytest.raises(
        MissingPeerError, match=r"its first requests failed: 6 attempts .* bad_status=6"
    ):
        Warm(_Silent(), each=3).start(2)


@pytest.mark.usefixtures("processes")
def test_who_has_another_number_of_workers_is_missing_and_gone() -> None:
    class _Less(Peer):
        name = "less"

        def __init__(self) -> None:
            self._peer = Balancer(with_app=True)

        def command(self, workers: int, folder: Path) -> list[str]:
            return self._peer.command(workers - 1, folder)

        def environment(self) -> dict[str, str]:
            return self._peer.environment()

        def wait_started(self, process: ServerProcess) -> int:
            return self._peer.wait_started(process)

    with pytest.raises(MissingPeerError, match="1 processes serve where 2 workers were started"):
        Warm(_Less(), each=1).start(2)


def test_it_is_missing_where_the_other_is(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Granian()
    monkeypatch.setattr(peer, "needs", ("no_such_package",))
    with pytest.raises(MissingPeerError, match="no_such_package not installed"):
        Warm(peer).start(1)


def test_it_looks_like_the_other() -> None:
    for peer in (Granian(), Balancer(arguments=["--policy", "shared"]), Balancer()):
        told = Warm(peer)
        assert (told.name, told.hands_over) == (peer.name, peer.hands_over)
    assert Balancer().hands_over
    assert not Balancer(arguments=["--policy", "shared"]).hands_over
