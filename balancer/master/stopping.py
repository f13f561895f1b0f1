"""How a server stops: it serves whom it has accepted, and in the end it kills.

A quick stop doesn't wait for requests; a second request to stop is taken to mean it.
"""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.master.dispatcher import Dispatcher
    from balancer.master.live import Live
    from balancer.master.ports import Ports
    from balancer.master.supervisor import Supervisor
    from balancer.master.worker import WorkerHandle

__all__ = ["Stopping"]

logger = logging.getLogger("balancer")


@final
class Stopping:
    """The stop, from the request to the last worker, in the nursery that it is given."""

    def __init__(
        self,
        live: Live,
        supervisor: Supervisor,
        dispatcher: Dispatcher,
        ports: Ports,
        nursery: trio.Nursery,
    ) -> None:
        self._live = live
        self._supervisor = supervisor
        self._dispatcher = dispatcher
        self._ports = ports
        self._nursery = nursery
        self._patience = trio.CancelScope()  # which a second request ends
        self.begun = False
        self.stopped = trio.Event()
        """Set after the last worker."""
        self.on_stopped: Callable[[], object] = lambda: None

    def begin(self, *, quick: bool) -> None:
        """Begin to stop; when that is so already, kill."""
        if not self.begun:
            self.begun = True
            self._nursery.start_soon(self._stop, quick)
            return
        logger.warning("asked to stop again: killing %d worker(s)", len(self._workers()))
        self._supervisor.stopping = True
        self._patience.cancel()
        for worker in self._workers():
            worker.killed_for = worker.killed_for or "it was asked to stop again"
            worker.signal(signal.SIGKILL)

    async def _stop(self, quick: bool) -> None:
        settings = self._live.settings
        deadline = trio.current_time()
        if not quick:
            deadline += settings.drain_delay + settings.graceful_timeout
            with self._patience:
                await trio.sleep(settings.drain_delay)
                self._ports.close(self._dispatcher)
                if self._workers():  # else nobody will come for what is queued
                    with trio.move_on_after(settings.graceful_timeout / 2):
                        await self._dispatcher.lanes.settled()
        self._ports.close(self._dispatcher)
        self._supervisor.stopping = True
        for worker in self._workers():
            if quick:
                self._supervisor.quit(worker)
            else:
                seconds = max(0.0, deadline - trio.current_time())
                # who waits on a listener that was passed on is for others to serve
                self._supervisor.drain(worker, seconds, closing=not self._ports.lent)
        await self.wait_until_gone()

    async def wait_until_gone(self) -> None:
        """Wait for the workers, who were told to leave; the supervisor kills who is late."""
        for worker in list(self._supervisor.unreported.values()):
            await worker.dead.wait()
        if abandoned := self._dispatcher.abandon():
            logger.warning("%d connection(s) found no worker before the end", abandoned)
        self.on_stopped()
        self.stopped.set()

    def _workers(self) -> list[WorkerHandle]:
        return list(self._supervisor.workers.values())
