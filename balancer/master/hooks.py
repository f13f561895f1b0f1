"""The hooks that run in the master, and what they are told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

from balancer.errors import RunError
from balancer.hooks import Hooks, Server, Worker, explain

if TYPE_CHECKING:
    from balancer.master.worker import WorkerHandle
    from balancer.settings import Settings

__all__ = ["MasterHooks"]


@final
class MasterHooks:
    """Calls the master's hooks; each method is the hook by that name."""

    def __init__(self, settings: Settings, hooks: Hooks | None = None) -> None:
        self._settings = settings
        self._hooks = hooks or Hooks()
        self._server = Server(os.getpid(), settings)
        self._workers: dict[int, Worker] = {}

    def on_starting(self) -> None:
        """RunError, with the traceback as details, when it fails."""
        try:
            self._hooks.run("on_starting", self._server)
        except (Exception, SystemExit) as error:
            sentence, details = explain(error)
            raise RunError(f"hook on_starting failed: {sentence}", details) from error

    def nworkers_changed(self, new: int, old: int | None) -> None:
        self._hooks.call("nworkers_changed", self._server, new, old)

    def pre_fork(self, handle: WorkerHandle) -> None:
        worker = Worker(handle.id, handle.slot, None, self._settings)
        self._workers[handle.id] = worker
        self._hooks.call("pre_fork", self._server, worker)

    def when_ready(self) -> None:
        self._hooks.call("when_ready", self._server)

    def on_reload(self) -> None:
        self._hooks.call("on_reload", self._server)

    def child_exit(self, handle: WorkerHandle) -> None:
        worker = self._workers.pop(handle.id, None)
        if worker is None or handle.pid is None:  # it was never forked
            return
        worker.pid = handle.pid
        worker.exit_code = handle.exit_code
        self._hooks.call("child_exit", self._server, worker)

    def on_exit(self) -> None:
        self._hooks.call("on_exit", self._server)
