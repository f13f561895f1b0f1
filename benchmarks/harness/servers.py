"""The servers of a run: all up from the start, measured one at a time.

Idle ones cost nothing, and a start takes a second that no cell has.  A server that has left a
request without its answer is replaced before it is measured again, since nobody knows what it
still has to do.
"""

from __future__ import annotations

import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import TYPE_CHECKING, Self, final

from benchmarks.harness import status
from benchmarks.loads import LoadError
from benchmarks.measure import cpu_seconds
from benchmarks.peers.base import MissingPeerError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from benchmarks.peers.base import Peer, RunningPeer

__all__ = ["Server", "Servers"]

_QUESTIONS = 8
"""To learn what one costs the master."""


@final
class Server:
    """A running peer and what the harness must remember of it; owned by ``Servers``."""

    def __init__(self, running: RunningPeer) -> None:
        self.running = running
        self.spoilt = False
        """It must be replaced before it is measured again."""
        self.busy_until = 0.0
        """Monotonic time until which something that the harness did keeps it busy."""
        argv = running.process.argv
        self.control = argv[argv.index("--control") + 1] if "--control" in argv else ""
        """Path of its control socket; empty: it has none."""
        self.question = self._cost_of_a_question() if self.control else 0.0
        """Seconds of the master's CPU."""

    @property
    def port(self) -> int:
        return self.running.port

    def counters(self) -> status.Counters | None:
        """None where nobody counts."""
        if not self.control:
            return None
        try:
            return status.counters(self.control)
        except status.StatusError as error:
            raise LoadError(str(error)) from error

    def some_worker(self) -> int:
        """The pid of the one that will have trouble: that of the last slot, where there are any.

        LoadError when it can't be learnt.
        """
        if (counted := self.counters()) and counted.pids:
            return counted.pids[max(counted.pids)]
        url = f"http://127.0.0.1:{self.port}/block/0"
        try:
            with urllib.request.urlopen(url, timeout=5.0) as response:
                found = re.search(rb"in pid (\d+)", response.read())
        except OSError as error:
            raise LoadError(f"GET /block/0: {error}") from error
        if found is None:
            raise LoadError("GET /block/0 doesn't say which process has answered")
        return int(found[1])

    def settle(self) -> None:
        """Wait until nothing of the last measurement is left."""
        sleep(max(0.0, self.busy_until - monotonic()))

    def _cost_of_a_question(self) -> float:
        master = self.running.master
        before = cpu_seconds(master)
        for _ in range(_QUESTIONS):
            self.counters()
        return (cpu_seconds(master) - before) / _QUESTIONS


@final
class Servers:
    """A context manager that owns them, by the peers' names; all have so many workers."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._up: dict[str, Server] = {}
        self.missing: dict[str, str] = {}
        """Why a peer isn't there, by name."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._end(self._up.values())
        self._up.clear()

    def start(self, peers: Iterable[Peer]) -> None:
        """Start them side by side; who can't is ``missing``."""
        wanted = {peer.name: peer for peer in peers if peer.name not in self._up}
        with ThreadPoolExecutor(max_workers=8) as threads:
            for _ in threads.map(self._start, wanted.values()):
                pass

    def get(self, peer: Peer) -> Server:
        """The server, ready to be measured; MissingPeerError when there is none."""
        server = self._up.get(peer.name)
        if server is not None and server.spoilt:
            self._end([self._up.pop(peer.name)])
            self._start(peer)
        elif server is None and peer.name not in self.missing:
            self._start(peer)
        if peer.name in self.missing:
            raise MissingPeerError(self.missing[peer.name])
        server = self._up[peer.name]
        server.settle()
        return server

    def _start(self, peer: Peer) -> None:
        try:
            running = peer.start(self._workers)
        except MissingPeerError as error:
            self.missing[peer.name] = str(error)
            return
        try:
            self._up[peer.name] = Server(running)
        except LoadError as error:
            running.close()
            self.missing[peer.name] = str(error)

    def _end(self, servers: Iterable[Server]) -> None:
        # Their ends take as long as their starts.
        with ThreadPoolExecutor(max_workers=8) as threads:
            for _ in threads.map(lambda server: server.running.close(), servers):
                pass
