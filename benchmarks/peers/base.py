"""What a peer is to the harness."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks.measure import CpuSnapshot, command_line, processes
from benchmarks.process import ProcessError, ServerProcess

if TYPE_CHECKING:
    from types import TracebackType


class MissingPeerError(Exception):
    """A peer can't run here; the message says why, and becomes its row in the report."""


class RunningPeer:
    """A started peer. Owns its process and its temporary folder; `close()` ends both.

    What `close_later` was given, its upstreams, is its own too: they end after the process.
    """

    def __init__(self, process: ServerProcess, port: int, folder: Path, ready_line: str) -> None:
        self.process = process
        self.port = port
        self.ready_line = ready_line
        self._folder = folder
        self._behind: list[RunningPeer] = []
        self._serving: list[RunningPeer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def master(self) -> int:
        """The pid of the master (balancer, nginx) or primary (Node)."""
        return self.process.pid

    def workers(self) -> set[int]:
        """The pids that serve: those of the family without children of their own, master excluded.

        balancer's fork server has children, so it is no worker while one of its workers lives. A
        server of one process is its own worker. Of a front door before servers that were given as
        serving, theirs.
        """
        if self._serving:
            return set().union(*(server.workers() for server in self._serving))
        parents = {entry.parent for entry in processes().values()}
        leaves = self.process.family() - parents - {self.master}
        return {pid for pid in leaves if not _is_helper(pid)} or {self.master}

    def family(self) -> set[int]:
        """All its processes, those of the servers behind it included if they are its workers."""
        return set().union(*(one.process.family() for one in (self, *self._serving)))

    def cpu(self) -> CpuSnapshot:
        """Of all its processes."""
        return CpuSnapshot.take(self.family())

    def close_later(self, behind: RunningPeer, *, serves: bool = False) -> None:
        """Own what stands behind this peer; with `serves` it counts as its worker."""
        self._behind.append(behind)
        if serves:
            self._serving.append(behind)

    def end_behind(self) -> None:
        """End what stands behind this peer, if anything, now."""
        self._serving.clear()
        while self._behind:
            self._behind.pop().close()

    def close(self) -> None:
        """TERM, then whatever it takes."""
        try:
            self.process.stop(deadline=5.0)
        except ProcessError:
            pass  # close() below kills
        finally:
            self.process.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            self.end_behind()


class Peer(ABC):
    """A kind of server. `name` is its row in every table."""

    name: str
    # A regex for the log line that says a replaced worker is ready; empty when there is none.
    ready_line = ""
    # The master hands over every connection, so its CPU per connection is a figure.
    hands_over = True

    @abstractmethod
    def command(self, workers: int, folder: Path) -> list[str]:
        """The command line; MissingPeerError when it can't run here."""

    @abstractmethod
    def wait_started(self, process: ServerProcess) -> int:
        """Wait until every worker is ready and return the port."""

    def environment(self) -> dict[str, str]:
        return {}

    def working_directory(self) -> Path | None:
        return None

    def start(self, workers: int) -> RunningPeer:
        """Start it and wait until it is ready; MissingPeerError when it can't run or start."""
        folder = Path(tempfile.mkdtemp(prefix="balancer-bench-"))
        try:
            command = self.command(workers, folder)
        except MissingPeerError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        process = ServerProcess(
            command,
            log=folder / "log",
            env=self.environment(),
            cwd=self.working_directory(),
        )
        try:
            process.start()
            port = self.wait_started(process)
        except BaseException as error:
            process.close()
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, ProcessError):
                raise MissingPeerError(f"did not start: {error}") from error
            raise
        return RunningPeer(process, port, folder, self.ready_line)


def _is_helper(pid: int) -> bool:
    """What multiprocessing starts beside the workers of whoever spawns them."""
    return "multiprocessing.resource_tracker" in command_line(pid)


def found(program: str) -> str:
    """The program's path; MissingPeerError when it isn't on PATH."""
    path = shutil.which(program)
    if path is None:
        raise MissingPeerError(f"{program} is not on PATH")
    return path


def port_in(pattern: str, line: str) -> int:
    match = re.search(pattern, line)
    if match is None:
        raise ProcessError(f"no port in {line!r}")
    return int(match[1])


def free_port() -> int:
    """A port for servers that have no port 0, or don't say what they got.

    Between this close and their bind somebody else could take it; then they do not start, and
    their row says so.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_listener(port: int, deadline: float) -> None:
    """Wait until somebody listens, for servers whose log does not tell: asks every 10 ms."""
    until = time.monotonic() + deadline
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > until:
            raise ProcessError(f"nobody listens on port {port} after {deadline:g} s")
        time.sleep(0.01)
