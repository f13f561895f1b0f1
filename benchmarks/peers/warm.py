"""A peer that has answered before it is measured.

The first thousands of requests cost a compiler (V8) and whoever imports late several times what
the later ones do, and a study begins with whatever cell comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from benchmarks.loadgen import Plan, run
from benchmarks.peers.base import MissingPeerError, Peer
from benchmarks.peers.who import serving
from benchmarks.process import ProcessError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.base import RunningPeer
    from benchmarks.process import ServerProcess

_EACH = 500
"""Requests per worker: V8 has compiled all of it after some 400, measured."""


@final
class Warm(Peer):
    """Another peer by its own name, started and warmed up; all its workers have answered."""

    def __init__(self, peer: Peer, each: int = _EACH) -> None:
        self.name = peer.name
        self.hands_over = peer.hands_over
        self.ready_line = peer.ready_line
        self._peer, self._each = peer, each

    def command(self, workers: int, folder: Path) -> list[str]:
        return self._peer.command(workers, folder)

    def wait_started(self, process: ServerProcess) -> int:
        return self._peer.wait_started(process)

    def start(self, workers: int) -> RunningPeer:
        running = self._peer.start(workers)
        try:
            self._warm_up(running, workers)
        except BaseException as error:
            running.close()
            if isinstance(error, ProcessError):
                raise MissingPeerError(str(error)) from error
            raise
        return running

    def _warm_up(self, running: RunningPeer, workers: int) -> None:
        # A millisecond, so that with a common listener not one of them answers all.
        plan = Plan(
            port=running.port,
            path="/block/0.001",
            count=self._each * workers,
            concurrency=4 * workers,
            keep_records=False,
        )
        report = run(plan)
        if report.failed:
            raise ProcessError(f"its first requests failed: {report.summary()}")
        serving(running, workers)
