"""Python's ASGI servers with the app of `benchmarks.apps`, as their documents say to run them.

Each runs under this Python, from the package that is installed beside it (`pip install -e
'.[bench]'` has them all), with the loop and the parser that its row names and everything else at
its default, but for what `with_options` adds. None has a balancing master: their workers share one
accept queue, or (granian) have one each that the kernel fills by hash.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self, final

from benchmarks.peers.base import MissingPeerError, Peer, await_listener, free_port, port_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.process import ServerProcess

APP = "benchmarks.apps:app"
_ROOT = Path(__file__).resolve().parents[2]


class _PythonPeer(Peer):
    """`python -m MODULE ARGUMENTS`; `needs` names the packages without which it is missing.

    `started` is a regex for the line of the log that each worker writes when it serves.
    """

    hands_over = False
    module: str
    needs: tuple[str, ...]
    started: str
    _workers = 0
    _options: tuple[str, ...] = ()

    def with_options(self, *options: str) -> Self:
        """Add to its command line; returns itself."""
        self._options = options
        return self

    def command(self, workers: int, folder: Path) -> list[str]:
        missing = [name for name in self.needs if find_spec(name) is None]
        if missing:
            raise MissingPeerError(f"{', '.join(missing)} not installed: pip install -e '.[bench]'")
        self._workers = workers
        return [sys.executable, "-m", self.module, *self.arguments(workers, folder), *self._options]

    def arguments(self, workers: int, folder: Path) -> list[str]:
        raise NotImplementedError

    def working_directory(self) -> Path:
        return _ROOT

    def wait_started(self, process: ServerProcess) -> int:
        process.wait_for_lines(self.started, self._workers, deadline=20.0)
        return self.port(process)

    def port(self, process: ServerProcess) -> int:
        """From the log; it has been written when the workers have started."""
        line = process.wait_for_line(r"http://127\.0\.0\.1:\d+")
        return port_in(r"http://127\.0\.0\.1:(\d+)", line.text)


@final
class Uvicorn(_PythonPeer):
    """`fast` is what `uvicorn[standard]` brings; without it, what `uvicorn` alone does."""

    module = "uvicorn"
    started = r"Application startup complete"

    def __init__(self, *, fast: bool) -> None:
        self._parts = ("httptools", "uvloop") if fast else ("h11", "asyncio")
        self.needs = ("uvicorn", *self._parts)
        self.name = f"uvicorn {'+'.join(self._parts) if fast else 'h11'}"

    def arguments(self, workers: int, folder: Path) -> list[str]:  # noqa: ARG002 - it needs no file
        http, loop = self._parts
        how = ["--http", http, "--loop", loop, "--no-access-log", "--no-use-colors"]
        return [APP, "--port", "0", "--workers", str(workers), *how]


@final
class Granian(_PythonPeer):
    name = "granian"
    module = "granian"
    needs = ("granian",)
    started = r"Started worker-\d+"

    def arguments(self, workers: int, folder: Path) -> list[str]:  # noqa: ARG002 - it needs no file
        # It can take port 0, but does not say which one it got.
        where = ["--host", "127.0.0.1", "--port", str(free_port())]
        return ["--interface", "asgi", *where, "--workers", str(workers), APP]

    def port(self, process: ServerProcess) -> int:
        port = int(process.argv[process.argv.index("--port") + 1])
        # Its workers listen a moment after they are said to have started.
        await_listener(port, deadline=10.0)
        return port


@final
class Gunicorn(_PythonPeer):
    """With `asgi`, gunicorn's own worker, or `uvicorn-worker`, which uvicorn's documents name."""

    module = "gunicorn"

    def __init__(self, worker: str) -> None:
        self.name = f"gunicorn {worker}"
        own = worker == "asgi"
        self._class = "asgi" if own else "uvicorn_worker.UvicornWorker"
        self.needs = ("gunicorn",) if own else ("gunicorn", "uvicorn_worker")
        self.started = r"ASGI server listening" if own else r"Application startup complete"

    def arguments(self, workers: int, folder: Path) -> list[str]:  # noqa: ARG002 - it needs no file
        where = ["-b", "127.0.0.1:0", "--no-control-socket"]
        return ["-k", self._class, "-w", str(workers), *where, APP]


@final
class Hypercorn(_PythonPeer):
    """On trio, so the one that does what balancer's own engine does, or on uvloop, its fastest."""

    module = "hypercorn"
    started = r"Running on http://"

    def __init__(self, loop: str = "trio", settings: Mapping[str, int] | None = None) -> None:
        """`settings` go into its file: not all of them have an option."""
        self.name = f"hypercorn {loop}"
        self.needs = ("hypercorn", loop)
        self._loop = loop
        self._settings = settings or {}

    def arguments(self, workers: int, folder: Path) -> list[str]:
        file = folder / "hypercorn.toml"
        file.write_text("".join(f"{name} = {value}\n" for name, value in self._settings.items()))
        how = ["-k", self._loop, "-w", str(workers), "-c", str(file)]
        return [*how, "-b", "127.0.0.1:0", APP]
