"""What a running server can be told, by signals and by the control socket.

Each operation is begun here and goes on in a task; one that can't be begun is refused with a
sentence.  Who asks to ``wait`` is answered when it is done, and told how it ended.

    rolls      reload and restart, one after the other
    staffing   how many workers, and what single ones are told
    stopping   the end
    signals    who asks by signal
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import TYPE_CHECKING, final

import trio

from balancer import log
from balancer.core.control import LOG_LEVELS
from balancer.core.messages import Reopen
from balancer.errors import RunError, UsageError
from balancer.master.hooks import MasterHooks
from balancer.master.identity import make_log
from balancer.master.rolls import Roll, Rolls
from balancer.master.signals import serve_signals
from balancer.master.staffing import MAX_WORKERS, Staffing
from balancer.master.status import make_status
from balancer.master.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balancer.core.control import Status
    from balancer.master.dispatcher import Dispatcher
    from balancer.master.live import Live
    from balancer.master.ports import Ports
    from balancer.master.rolling import Rolling
    from balancer.master.spawner import Spawner
    from balancer.master.supervisor import Supervisor
    from balancer.master.upgrader import Upgrader
    from balancer.master.upstreams import Upstreams

__all__ = ["MAX_WORKERS", "Operations", "Phase"]

logger = logging.getLogger("balancer")


class Phase(Enum):
    """What the server is doing; the values are those of ``balancer status``."""

    STARTING = "starting"
    RUNNING = "running"
    RELOADING = "reloading"
    UPGRADING = "upgrading"  # until another master has taken over
    LEAVING = "leaving"  # it has
    STOPPING = "stopping"


@final
class Operations:
    """The commands, in the nursery that it is given; ``stopped`` is set after the last worker."""

    def __init__(
        self,
        live: Live,
        supervisor: Supervisor,
        dispatcher: Dispatcher,
        ports: Ports,
        spawner: Spawner,
        rolling: Rolling,
        nursery: trio.Nursery,
        hooks: MasterHooks | None = None,
        upstreams: Upstreams | None = None,
    ) -> None:
        self._upstreams = upstreams
        self._live = live
        self._supervisor = supervisor
        self._dispatcher = dispatcher
        self._ports = ports
        self._spawner = spawner
        self._nursery = nursery
        self._hooks = hooks or MasterHooks(live)
        self._rolling = rolling
        rolling.scale = self.scale
        self._rolls = Rolls(self._roll, nursery, self.tell_phase)
        self._staffing = Staffing(live, supervisor, self._hooks, nursery)
        self.stopping = Stopping(live, supervisor, dispatcher, ports, nursery)
        self._started_at = trio.current_time()
        self.stopped = self.stopping.stopped
        self.on_phase: Callable[[Phase], None] = lambda _phase: None
        """Called when a phase begins, or the same one again."""
        self.admin_addresses: Sequence[str] = ()
        """Where health checks are answered."""
        self.upgrader: Upgrader | None = None
        """Where there is none, the server can't be replaced."""

    @property
    def phase(self) -> Phase:
        """What the server is doing."""
        if self.stopping.begun:
            return Phase.STOPPING
        if self.upgrader is not None and self.upgrader.phase is not None:
            return self.upgrader.phase
        if self._rolls.running:
            return Phase.RELOADING
        # an heir is ready, and still the server is another's
        serving = self._supervisor.all_ready.is_set() and not self._ports.held
        return Phase.RUNNING if serving else Phase.STARTING

    @property
    def reload_error(self) -> str | None:
        """Why the last roll was given up."""
        return self._rolls.error

    def tell_phase(self) -> None:
        """It has changed, or has begun anew."""
        self.on_phase(self.phase)

    def status(self) -> Status:
        """Everything, now."""
        return make_status(
            self._live.settings,
            self.phase.value,
            trio.current_time() - self._started_at,
            self._rolls.error,
            self._supervisor,
            self._dispatcher,
            self._ports,
            self._spawner,
            self._upstreams,
            self.admin_addresses,
            [] if self.upgrader is None else self.upgrader.leaving,
        )

    async def on_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        """gunicorn's signals, until cancelled."""
        await serve_signals(self, task_status=task_status)

    # -- all workers --------------------------------------------------------------------------

    async def reload(self, *, wait: bool = False) -> None:
        """Begin to read the configuration again and to roll the workers.

        During a roll exactly one more follows, however often it is asked for.
        """
        await self._ask_for_roll("reload", reread=True, wait=wait)

    async def restart(self, worker_id: int | None = None, *, wait: bool = False) -> None:
        """Roll the workers, or replace one, with the configuration as it is.

        All of them come from a new fork server, so that the app's code is read again; a single one
        comes from the one that is there, and reads the app again only without ``--preload``.
        """
        if worker_id is None:
            await self._ask_for_roll("restart", reread=False, wait=wait)
        else:
            self._refuse_when_stopping("restart")
            await self._staffing.replace(worker_id, wait=wait)

    async def upgrade(self, *, wait: bool = False) -> None:
        """Begin to be replaced by another master."""
        assert self.upgrader is not None
        await self.upgrader.upgrade(wait=wait)

    async def reopen(self) -> None:
        """Have every worker open its log files anew: those that drain write to them, too."""
        make_log(self._live.settings)
        for worker in self._supervisor.workers.values():
            self._nursery.start_soon(worker.tell, Reopen())

    async def log_level(self, level: str) -> None:
        """Log from this level up: here, in the workers there are and in those to come."""
        if level not in LOG_LEVELS:
            raise UsageError(f"log-level {level}: must be one of {', '.join(LOG_LEVELS)}")
        logger.info("the log level is %s from now on", level)
        log.set_level(level)
        self._supervisor.set_log_level(level)

    async def stop(self, *, quick: bool = False, wait: bool = False) -> None:
        """Begin to stop; when stopping already, kill."""
        self._rolls.stop()
        if self.upgrader is not None:
            self.upgrader.cancel()
        self.stopping.begin(quick=quick)
        self.tell_phase()
        if wait:
            await self.stopped.wait()

    # -- single ones --------------------------------------------------------------------------

    async def scale(self, workers: int | None, *, by: int = 0, wait: bool = False) -> int:
        """Have that many workers, or ``by`` more; how many that are."""
        self._refuse_when_stopping("scale")
        return await self._staffing.scale(workers, by, wait=wait)

    async def drain(self, worker_id: int, *, wait: bool = False) -> None:
        """Take a worker out of service: it finishes what it has, and stays, idle."""
        self._refuse_when_stopping("drain")
        await self._staffing.drain(worker_id, wait=wait)

    async def resume(self, worker_id: int) -> None:
        """Put it back into service."""
        self._refuse_when_stopping("resume")
        await self._staffing.resume(worker_id)

    # -- upstreams ----------------------------------------------------------------------------

    async def drain_upstream(self, upstream: str, *, wait: bool = False) -> None:
        """Give an upstream no new requests."""
        self._refuse_when_stopping("drain")
        upstreams = self._known("drain", upstream)
        rows = upstreams.drain(upstream)
        if wait:
            await upstreams.idle(rows, upstream)

    async def resume_upstream(self, upstream: str) -> None:
        """Give it requests again."""
        self._refuse_when_stopping("resume")
        self._known("resume", upstream).resume(upstream)

    async def weigh(self, upstream: str, weight: int) -> None:
        """Give it another share."""
        self._refuse_when_stopping("weight")
        self._known("weight", upstream).weigh(upstream, weight)

    def _known(self, what: str, upstream: str) -> Upstreams:
        if self._upstreams is None or not self._upstreams.book.pools:
            raise RunError(f"{what} {upstream}: this server has no upstreams, only workers (by id)")
        return self._upstreams

    # -- rolls --------------------------------------------------------------------------------

    async def _ask_for_roll(self, what: str, *, reread: bool, wait: bool) -> None:
        self._refuse_when_stopping(what)
        roll = self._rolls.ask(reread=reread)
        if wait:
            await roll.done()

    async def _roll(self, roll: Roll) -> None:
        """One slot after the other: the new worker is ready before the old one drains."""
        self._supervisor.recycler.paused = True
        try:
            await self._rolling.roll(reread=roll.reread)
        finally:
            self._supervisor.recycler.paused = False

    def _refuse_when_stopping(self, what: str) -> None:
        upgrade = None if self.upgrader is None else self.upgrader.phase
        if self.stopping.begun or upgrade is Phase.LEAVING:
            raise RunError(f"{what}: the server is stopping")
        if upgrade is Phase.UPGRADING:
            raise RunError(f"{what}: an upgrade is in progress")
