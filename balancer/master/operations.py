"""What a running server can be told, by signals and by the control socket.

Each operation is begun here and goes on in a task; one that can't be begun is refused with a
sentence.  A second request to stop is taken to mean it: everybody is killed.
"""

from __future__ import annotations

import logging
import signal
from enum import Enum
from typing import TYPE_CHECKING, final

import trio

from balancer.core.lifecycle import State
from balancer.core.messages import Reopen
from balancer.errors import BalancerError, RunError, UsageError
from balancer.master.hooks import MasterHooks
from balancer.master.status import make_status

if TYPE_CHECKING:
    from balancer.core.control import Status
    from balancer.master.dispatcher import Dispatcher
    from balancer.master.ports import Ports
    from balancer.master.spawner import Spawner
    from balancer.master.supervisor import Supervisor
    from balancer.master.upstreams import Upstreams
    from balancer.master.worker import WorkerHandle
    from balancer.settings import Settings

__all__ = ["Operations", "Phase"]

logger = logging.getLogger("balancer")

QUICK = 2.0
"""Seconds that a quick stop takes at most before it kills."""
MAX_WORKERS = 1024


class Phase(Enum):
    """What the server is doing; the values are those of ``balancer status``."""

    STARTING = "starting"
    RUNNING = "running"
    RELOADING = "reloading"
    STOPPING = "stopping"


@final
class Operations:
    """The commands, in the nursery that it is given; ``stopped`` is set after the last worker."""

    def __init__(
        self,
        settings: Settings,
        supervisor: Supervisor,
        dispatcher: Dispatcher,
        ports: Ports,
        spawner: Spawner,
        nursery: trio.Nursery,
        hooks: MasterHooks | None = None,
        upstreams: Upstreams | None = None,
    ) -> None:
        self._upstreams = upstreams
        self._settings = settings
        self._supervisor = supervisor
        self._dispatcher = dispatcher
        self._ports = ports
        self._spawner = spawner
        self._nursery = nursery
        self._hooks = hooks or MasterHooks(settings)
        self._again = False
        self._reload_error: str | None = None
        self._started_at = trio.current_time()
        self._patience = trio.CancelScope()  # of a graceful stop, which a second request ends
        self.phase = Phase.STARTING
        self.stopped = trio.Event()

    def status(self) -> Status:
        """Everything, now."""
        return make_status(
            self._settings,
            self.phase.value,
            trio.current_time() - self._started_at,
            self._reload_error,
            self._supervisor,
            self._dispatcher,
            self._ports,
            self._spawner,
            self._upstreams,
        )

    async def reload(self, *, wait: bool = False) -> None:
        """Begin a rolling restart; during one, exactly one more follows, however often asked."""
        _refuse(wait, "reload --wait")
        self._refuse_when_stopping("reload")
        if self.phase is Phase.RELOADING:
            self._again = True
        else:
            self.phase = Phase.RELOADING
            self._nursery.start_soon(self._roll)

    async def restart(self, worker_id: int | None, *, wait: bool = False) -> None:  # noqa: ARG002
        """Not yet."""
        _refuse(True, "restart")

    async def upgrade(self, *, wait: bool = False) -> None:  # noqa: ARG002
        """Not yet."""
        _refuse(True, "upgrade")

    async def resume(self, worker_id: int) -> None:  # noqa: ARG002
        """Not yet."""
        _refuse(True, "resume")

    async def drain_upstream(self, upstream: str, *, wait: bool = False) -> None:  # noqa: ARG002
        """Not yet."""
        _refuse(True, "drain")

    async def resume_upstream(self, upstream: str) -> None:  # noqa: ARG002
        """Not yet."""
        _refuse(True, "resume")

    async def weigh(self, upstream: str, weight: int) -> None:  # noqa: ARG002
        """Not yet."""
        _refuse(True, "weight")

    async def log_level(self, level: str) -> None:  # noqa: ARG002
        """Not yet."""
        _refuse(True, "log-level")

    async def scale(self, workers: int | None, *, by: int = 0, wait: bool = False) -> None:
        """Have that many workers."""
        self._refuse_when_stopping("scale")
        _refuse(wait, "scale --wait")
        if workers is None:
            workers = len(self._supervisor.slots) + by
        if not 1 <= workers <= MAX_WORKERS:
            raise UsageError(f"scale {workers}: there can be 1 to {MAX_WORKERS} workers")
        slots = self._supervisor.slots
        before = len(slots)
        if workers != before:
            logger.info("scaling from %d to %d workers", before, workers)
        while len(slots) < workers:
            self._supervisor.add_slot()
        while len(slots) > workers:
            self._supervisor.retire_slot()
        if workers != before:
            self._hooks.nworkers_changed(workers, before)

    async def drain(self, worker_id: int, *, wait: bool = False) -> None:
        """Take a worker out of service: it finishes what it has, and stays, idle."""
        _refuse(wait, "drain --wait")
        self._refuse_when_stopping("drain")
        worker = self._supervisor.workers.get(worker_id)
        if worker is None or worker.state not in {State.READY, State.STALLED, State.DRAINING}:
            ready = [str(each.id) for each in self._supervisor.workers.values() if each.ready_at]
            raise RunError(
                f"drain {worker_id}: no such worker in service (there are: {', '.join(ready)})"
            )
        logger.info("%s is drained on request", worker)
        self._supervisor.drain(worker, self._settings.drain_timeout, leave=False)
        if not any(each.state is State.READY for each in self._workers()):
            logger.warning("no worker is in service any more: new connections wait (try reload)")

    async def reopen(self) -> None:
        """Have every worker open its log files anew: those that drain write to them, too."""
        for worker in self._workers():
            self._nursery.start_soon(worker.tell, Reopen())

    async def stop(self, *, quick: bool, wait: bool = False) -> None:
        """Begin to stop; when stopping already, kill."""
        _refuse(wait, "stop --wait")
        if self.phase is Phase.STOPPING:
            logger.warning("asked to stop again: killing %d worker(s)", len(self._workers()))
            self._supervisor.stopping = True
            self._patience.cancel()
            for worker in self._workers():
                worker.signal(signal.SIGKILL)
            return
        self.phase = Phase.STOPPING
        self._nursery.start_soon(self._stop, quick)

    async def on_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        """gunicorn's signals, until cancelled; from then on they mean nothing any more."""
        for each in SIGNALS:
            # What trio restores in the end: with the default, a second ^C would kill a server that
            # has stopped already, and leave its pid file.
            signal.signal(each, signal.SIG_IGN)
        with trio.open_signal_receiver(*SIGNALS) as signals:
            task_status.started()
            async for number in signals:
                try:
                    await self._on_signal(signal.Signals(number))
                except BalancerError as error:
                    logger.warning("%s: %s", signal.Signals(number).name, error)

    async def _on_signal(self, number: signal.Signals) -> None:
        if number in {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}:
            logger.info("%s: stopping", number.name)
            await self.stop(quick=number is not signal.SIGTERM)
        elif number is signal.SIGHUP:
            logger.info("SIGHUP: rolling restart")
            await self.reload()
        elif number is signal.SIGUSR1:
            logger.info("SIGUSR1: reopening the log files")
            await self.reopen()
        elif number is signal.SIGTTIN:
            await self.scale(None, by=1)
        elif number is signal.SIGTTOU:
            await self.scale(None, by=-1)
        else:
            logger.info("%s is ignored", number.name)

    # -- reload -------------------------------------------------------------------------------

    async def _roll(self) -> None:
        self._supervisor.recycler.paused = True
        while True:
            self._again = False
            await self._roll_once()
            if not self._again or self.phase is Phase.STOPPING:
                break
        self._supervisor.recycler.paused = False
        if self.phase is Phase.RELOADING:
            # with --reload, one may come before any worker was ready
            ready = self._supervisor.all_ready.is_set()
            self.phase = Phase.RUNNING if ready else Phase.STARTING

    async def _roll_once(self) -> None:
        """One slot after the other: the new worker is ready before the old one drains."""
        self._reload_error = None
        self._hooks.on_reload()
        try:
            await self._spawner.renew(self._settings.boot_timeout)
        except BalancerError as error:
            sentence, newline, traceback = str(error).partition("\n")
            self._reload_error = sentence
            logger.error("reload: %s; the running workers stay%s%s", sentence, newline, traceback)
            return
        for slot in list(self._supervisor.slots):
            if not slot.retired and not await self._supervisor.replace(slot):
                if self.phase is not Phase.STOPPING:
                    self._reload_error = f"no new worker became ready in slot {slot.number}"
                    logger.error("reload: %s; the running workers stay", self._reload_error)
                return
        logger.info("reload: done")

    # -- stop ---------------------------------------------------------------------------------

    async def _stop(self, quick: bool) -> None:
        settings = self._settings
        deadline = trio.current_time()
        if not quick:
            deadline += settings.drain_delay + settings.graceful_timeout
            with self._patience:
                await trio.sleep(settings.drain_delay)
                self._ports.close(self._dispatcher)
                if self._workers():  # else nobody will come for what is queued
                    with trio.move_on_after(settings.graceful_timeout / 2):
                        await self._dispatcher.settled()
        self._ports.close(self._dispatcher)
        self._supervisor.stopping = True
        for worker in self._workers():
            if quick:
                self._supervisor.quit(worker)
            else:
                seconds = max(0.0, deadline - trio.current_time())
                self._supervisor.drain(worker, seconds, closing=True)
        # The supervisor kills who is late; this returns when it has.
        for worker in list(self._supervisor.unreported.values()):
            await worker.dead.wait()
        if abandoned := self._dispatcher.abandon():
            logger.warning("%d connection(s) found no worker before the end", abandoned)
        self.stopped.set()

    def _workers(self) -> list[WorkerHandle]:
        return list(self._supervisor.workers.values())

    def _refuse_when_stopping(self, what: str) -> None:
        if self.phase is Phase.STOPPING:
            raise RunError(f"{what}: the server is stopping")


def _refuse(asked: bool, what: str) -> None:
    """What can be asked for and isn't there yet."""
    if asked:
        raise RunError(f"{what}: can't be done yet")


SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
