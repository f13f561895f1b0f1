"""The hooks that run in the master, and what they are told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

from balancer.errors import RunError
from balancer.hooks import Server, Worker, explain

if TYPE_CHECKING:
    from balancer.master.live import Edition, Live
    from balancer.master.worker import WorkerHandle

__all__ = ["MasterHooks"]


@final
class MasterHooks:
    """Calls the master's hooks; each method is the hook by that name."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._server = Server(os.getpid(), live.settings)
        self._workers: dict[int, Worker] = {}

    def on_starting(self) -> None:
        """RunError, with the traceback as details, when it fails."""
        try:
            self._live.edition.hooks.run("on_starting", self._server)
        except (Exception, SystemExit) as error:
            sentence, details = explain(error)
            raise RunError(f"hook on_starting failed: {sentence}", details) from error

    def nworkers_changed(self, new: int, old: int | None) -> None:
        self._call("nworkers_changed", self._server, new, old)

    def pre_fork(self, handle: WorkerHandle) -> None:
        worker = Worker(handle.id, handle.slot, None, handle.edition.settings)
        self._workers[handle.id] = worker
        self._call("pre_fork", self._server, worker)

    def when_ready(self) -> None:
        self._call("when_ready", self._server)

    def on_reload(self, edition: Edition) -> None:
        """The next edition's, as its workers are about to be tried."""
        self._server.cfg = edition.settings
        edition.hooks.call("on_reload", self._server)

    def child_exit(self, handle: WorkerHandle) -> None:
        worker = self._workers.pop(handle.id, None)
        if worker is None or handle.pid is None:  # it was never forked
            return
        worker.pid = handle.pid
        worker.exit_code = handle.exit_code
        self._call("child_exit", self._server, worker)

    def on_exit(self) -> None:
        self._call("on_exit", self._server)

    def _call(self, name: str, *arguments: object) -> None:
        self._server.cfg = self._live.settings
        self._live.edition.hooks.call(name, *arguments)
