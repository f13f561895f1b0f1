"""``USR2`` and ``balancer upgrade`` as an operation: when it may be begun, and what follows.

After an upgrade this master is *leaving*: as on a reload its workers have ``--drain-timeout``, so
that WebSockets live on, and this process with them.  Told to stop then, it does that as ever.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, final

import trio

from balancer.errors import RunError
from balancer.master.operations import Phase
from balancer.master.upgrade import Upgrade, find_obstacle

if TYPE_CHECKING:
    from balancer.master.dispatcher import Dispatcher
    from balancer.master.lineage import Lineage
    from balancer.master.live import Live
    from balancer.master.operations import Operations
    from balancer.master.ports import Ports
    from balancer.master.supervisor import Supervisor

__all__ = ["Upgrader"]

logger = logging.getLogger("balancer")

NOT_NOW = {
    Phase.STARTING: "the server is still starting",
    Phase.RELOADING: "a reload is in progress; try again when it is done",
    Phase.UPGRADING: "another upgrade is in progress",
    Phase.LEAVING: "another master has taken over",
    Phase.STOPPING: "the server is stopping",
}


@final
class Upgrader:
    """Has the server replaced; its tasks run in the nursery that it is given."""

    def __init__(
        self,
        live: Live,
        lineage: Lineage,
        supervisor: Supervisor,
        dispatcher: Dispatcher,
        ports: Ports,
        operations: Operations,
        nursery: trio.Nursery,
    ) -> None:
        self._live = live
        self._lineage = lineage
        self._supervisor = supervisor
        self._dispatcher = dispatcher
        self._ports = ports
        self._operations = operations
        self._nursery = nursery
        self._attempt: Upgrade | None = None
        self._over = trio.Event()
        self._over.set()
        self._error: RunError | None = None
        self.phase: Phase | None = None
        """Upgrading, or leaving."""

    def _enter(self, phase: Phase | None) -> None:
        self.phase = phase
        self._operations.tell_phase()

    @property
    def leaving(self) -> list[int]:
        """The pids of masters that were replaced, and still drain."""
        heir = self._lineage.heir
        return [] if heir is None else list(heir.leaving)

    async def upgrade(self, *, wait: bool = False) -> None:
        """Begin to be replaced; with ``wait``, return when it has happened.

        Raises:
            RunError: it can't be begun; with ``wait``, also: it has failed.
        """
        if obstacle := find_obstacle(self._lineage) or NOT_NOW.get(self._operations.phase):
            raise RunError(f"upgrade: {obstacle}")
        self._enter(Phase.UPGRADING)
        self._over = over = trio.Event()
        self._attempt = Upgrade(self._live.settings, self._lineage, self._ports, self._supervisor)
        self._nursery.start_soon(self._run, self._attempt)
        if wait:
            await over.wait()
            if self._error is not None:
                raise self._error

    def cancel(self) -> None:
        """The server is told to stop."""
        if self._attempt is not None:
            self._attempt.cancel()

    async def finish(self) -> None:
        """Wait for the end of an upgrade that is under way."""
        await self._over.wait()

    async def _run(self, attempt: Upgrade) -> None:
        self._error = None
        try:
            await attempt.run()
        except RunError as error:
            self._error = RunError(f"upgrade: {error}")
            logger.error("%s; this server goes on", self._error)
            self._enter(None)
        else:
            logger.info("process %d has taken over: leaving", attempt.pid)
            attempt.hand_on()
            if self._operations.phase is Phase.UPGRADING:  # else it has been told to stop
                self._enter(Phase.LEAVING)
                self._nursery.start_soon(self._leave)
            self._nursery.start_soon(attempt.attend)
            self._operations.stopping.on_stopped = attempt.bid_farewell
        finally:
            self._attempt = None
            self._over.set()

    async def _leave(self) -> None:
        """Serve whom this master has accepted, and go."""
        self._ports.close(self._dispatcher)
        if self._supervisor.workers:  # else nobody will come for what is queued
            with trio.move_on_after(self._live.settings.graceful_timeout / 2):
                await self._dispatcher.lanes.settled()
        self._supervisor.stopping = True
        for worker in list(self._supervisor.workers.values()):
            self._supervisor.drain(worker, self._live.settings.drain_timeout)
        await self._lineage.desk.finish()  # or who asks right now would get no answer
        await self._operations.stopping.wait_until_gone()
