"""Real servers for tests: `balancer serve`, and a Node cluster with the same face.

    with BalancerServer("--recall", "off", workers=3) as server:
        assert raw.get(server.port).worker in server.workers
        server.kill(2, signal.SIGKILL)
        server.wait_for(lambda status: 4 in ready(status))

Leaving the context is a test of its own: TERM, a deadline, the exit code, and nobody left. On any
failure the server's log goes to stderr, where pytest shows it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Self

from balancer.cli.client import ask, locate
from balancer.core.control import GetStatus
from benchmarks.process import LogLine, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

Status = dict[str, Any]

_ROOT = Path(__file__).resolve().parents[2]
_NODE_SCRIPT = _ROOT / "tests" / "conformance" / "node_cluster.js"


def ready(status: Status) -> dict[int, int]:
    """id → pid of the workers that are ready, oldest id first."""
    workers = sorted(status["workers"], key=lambda worker: int(worker["id"]))
    return {worker["id"]: worker["pid"] for worker in workers if worker["state"] == "ready"}


class Server(ABC):
    """A running server with workers. Deadlines are in seconds; missing one is an AssertionError.

    `expect_exit` is the exit code that leaving the context asserts (None: any).
    """

    process: ServerProcess

    def __init__(self, *, expect_exit: int | None = 0, stop_deadline: float = 10.0) -> None:
        self.expect_exit = expect_exit
        self.stop_deadline = stop_deadline
        self.folder = Path(tempfile.mkdtemp(prefix="balancer-test-"))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        failed = True
        try:
            if error is None:
                self.finish()
                failed = False
        finally:
            if failed:
                print(
                    f"log of {' '.join(self.process.argv)}{self.process.tail(200)}", file=sys.stderr
                )
            self.process.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Spawn it and wait until every worker is ready."""
        self.process.start()
        try:
            self.wait_started()
        except BaseException:
            print(f"did not start{self.process.tail(200)}", file=sys.stderr)
            self.process.close()
            raise

    @abstractmethod
    def wait_started(self) -> None: ...

    @abstractmethod
    def status(self) -> Status:
        """The server's status, in the shape of `balancer status --json`."""

    @abstractmethod
    def drain(self, worker: int) -> None:
        """Ask that worker `worker` gets nothing new and leaves when its connections have ended."""

    @property
    @abstractmethod
    def ports(self) -> list[int]:
        """The ports in the order they were asked for."""

    def finish(self) -> None:
        """TERM (unless it has ended), then assert the exit code and that nobody is left."""
        code = self.process.stop(signal.SIGTERM, deadline=self.stop_deadline)
        assert self.expect_exit in {None, code}, f"exit code {code}, not {self.expect_exit}"
        left = self.process.survivors(deadline=1.0)
        assert not left, f"still alive after the master: {[describe(pid) for pid in left]}"

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def pid(self) -> int:
        """The master's pid."""
        return self.process.pid

    @property
    def workers(self) -> dict[int, int]:
        """id → pid of the workers that are ready now."""
        return ready(self.status())

    def kill(self, worker: int, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to the worker with this id; returns its pid."""
        pid = self.workers[worker]
        os.kill(pid, number)
        return pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the master alone."""
        self.process.send_signal(number)

    def wait_for(self, wanted: Callable[[Status], object], *, deadline: float = 10.0) -> Status:
        """The first status that `wanted` accepts; asked every 20 ms at most."""
        until = monotonic() + deadline
        while not wanted(status := self.status()):
            if monotonic() > until:
                raise AssertionError(
                    f"not within {deadline:g} s; last status: {json.dumps(status)}"
                )
            sleep(0.02)
        return status

    def wait_ready(self, count: int, *, deadline: float = 10.0) -> dict[int, int]:
        """Wait until exactly `count` workers are ready; returns them."""
        return ready(self.wait_for(lambda status: len(ready(status)) == count, deadline=deadline))

    def master_fds(self) -> dict[int, str]:
        """The master's open descriptors: number → what it is."""
        folder = f"/proc/{self.pid}/fd"
        links = {}
        for name in os.listdir(folder):
            try:
                links[int(name)] = os.readlink(f"{folder}/{name}")
            except FileNotFoundError:
                continue  # closed since listdir
        return links

    def log_lines(self) -> list[str]:
        return self.process.log_lines()

    def wait_for_line(self, pattern: str, *, deadline: float = 10.0, after: int = 0) -> LogLine:
        """The first log line from number `after` on that matches (`re.search`), with its time."""
        return self.process.wait_for_line(pattern, deadline=deadline, after=after)


class BalancerServer(Server):
    """`python -m balancer serve`, on port 0, with a control socket of its own.

    Positional arguments are added to the command line as they are; `app` is the APP argument
    (none: the demo); `upstreams` makes it `balancer proxy`; `binds` replaces `-b 127.0.0.1:0`;
    `file` makes it `balancer run`, with so many `listeners`; no `workers` leave their number to a
    file.
    """

    def __init__(
        self,
        *args: str,
        workers: int | None = 2,
        app: str | None = None,
        upstreams: Sequence[str] = (),
        binds: tuple[str, ...] = ("127.0.0.1:0",),
        file: Path | None = None,
        listeners: int = 1,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        expect_exit: int | None = 0,
        stop_deadline: float = 10.0,
        start_deadline: float = 15.0,
    ) -> None:
        super().__init__(expect_exit=expect_exit, stop_deadline=stop_deadline)
        self.control = self.folder / "control.sock"
        self.count = workers or 0
        self._binds = listeners if file else len(binds)
        self._start_deadline = start_deadline
        self._ports: list[int] = []
        what = ["proxy", *upstreams] if upstreams else ["serve", *([app] if app else [])]
        if file:
            what, binds = ["run", "-c", str(file)], ()
        argv = [sys.executable, "-m", "balancer", *what]
        for bind in binds:
            argv += ["-b", bind]
        argv += ["--control", str(self.control), *args]
        argv += ["-w", str(workers)] if workers is not None else []
        self.process = ServerProcess(argv, log=self.folder / "log", env=env, cwd=cwd)

    @property
    def ports(self) -> list[int]:
        return self._ports

    def wait_started(self) -> None:
        deadline = self._start_deadline
        lines = self.process.wait_for_lines(r"listening on ", self._binds, deadline=deadline)
        found = [re.search(r"listening on http://\S*:(\d+)", line.text) for line in lines]
        self._ports = [int(match[1]) for match in found if match]
        self.process.wait_for_line(r"ready: \d+ workers?", deadline=deadline)

    def command(self, *args: str, deadline: float = 15.0) -> subprocess.CompletedProcess[str]:
        """Run `balancer ARGS --control …` to its end; the exit code is the caller's to judge."""
        argv = [sys.executable, "-m", "balancer", *args, "--control", str(self.control)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=deadline, check=False)

    def status(self) -> Status:
        # Over the socket: a process per question would be a hundred times slower.
        reply = ask(locate(None, str(self.control)), GetStatus(), 10.0)
        assert reply.ok, f"status: {reply.error}"
        status: Status = reply.result
        return status

    def drain(self, worker: int) -> None:
        done = self.command("drain", str(worker))
        assert done.returncode == 0, f"drain: exit {done.returncode}: {done.stderr}"


class NodeServer(Server):
    """A real Node cluster of our own script (tests/conformance/node_cluster.js).

    It respawns what exits, answers the demo's paths, and takes commands on its standard input;
    `listeners` servers per worker, each on port 0.
    """

    def __init__(self, *, workers: int = 2, listeners: int = 1, node: str = "node") -> None:
        super().__init__()
        argv = [node, str(_NODE_SCRIPT), str(workers), str(listeners)]
        self.process = ServerProcess(argv, log=self.folder / "log", wrap_stdin=True)
        self.count = workers
        self._ports: list[int] = []

    @property
    def ports(self) -> list[int]:
        return self._ports

    def wait_started(self) -> None:
        line = self.process.wait_for_line(r"^ready ", deadline=15.0)
        self._ports = json.loads(line.text.removeprefix("ready "))

    def _ask(self, command: str) -> Status:
        before = len(self.process.log_lines())
        self.process.write(command)
        line = self.process.wait_for_line(r"^status ", after=before)
        status: Status = json.loads(line.text.removeprefix("status "))
        return status

    def status(self) -> Status:
        return self._ask("status")

    def drain(self, worker: int) -> None:
        self._ask(f"disconnect {worker}")


def describe(pid: int) -> str:
    """pid and command line, for messages about processes that should not be there."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        line = "(gone)"
    return f"{pid} {line.strip()}"
