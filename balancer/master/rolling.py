"""A roll: every worker is replaced by one of the new edition, ready before the old one drains.

The first is a trial.  Until it is ready, nothing has changed: the fork server before is the one
that a worker that dies is replaced from, with the settings before.  From then on the new edition is
in force, and the others follow, one slot after the other.  Where one of those doesn't become ready,
the roll ends there, and the workers that it hasn't reached stay, whichever edition they are of.

A listener that isn't wanted any more is closed when the last worker that knows it is about to
leave, and that one gets all who wait there: so nobody is cut, and nobody is refused before.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, final

import trio

from balancer.core.lifecycle import State
from balancer.errors import BalancerError, BootError, RunError
from balancer.master.obituary import cause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from balancer.master.dispatcher import Dispatcher
    from balancer.master.hooks import MasterHooks
    from balancer.master.live import Live
    from balancer.master.ports import Ports
    from balancer.master.reload import Reload, Reloader
    from balancer.master.slot import Slot
    from balancer.master.spawner import Spawner
    from balancer.master.supervisor import Supervisor
    from balancer.master.worker import WorkerHandle

__all__ = ["Rolling"]

logger = logging.getLogger("balancer")

LAST_LOOK = 5.0
"""Seconds at most for the last worker that knows a listener to take who waits there."""


@final
class Rolling:
    """Rolls the workers, once at a time."""

    def __init__(
        self,
        live: Live,
        reloader: Reloader,
        supervisor: Supervisor,
        dispatcher: Dispatcher,
        ports: Ports,
        spawner: Spawner,
        hooks: MasterHooks,
    ) -> None:
        self._live = live
        self._reloader = reloader
        self._supervisor = supervisor
        self._dispatcher = dispatcher
        self._ports = ports
        self._spawner = spawner
        self._hooks = hooks
        self.scale: Callable[[int], Awaitable[object]]
        """Called when the number of workers is another one in the configuration."""

    async def roll(self, *, reread: bool) -> None:
        """Replace every worker, with the configuration read again before that, or as it is.

        Raises:
            BalancerError: it was given up, and the reason.
        """
        try:
            reload = await self._reloader.prepare(reread=reread)
        except BalancerError as error:
            raise (RunError(f"{error}\n{error.details}") if error.details else error) from error
        try:
            await self._spawner.try_out(reload.configure, reload.edition.settings.boot_timeout)
            self._hooks.on_reload(reload.edition)
            try:
                await self._try(reload)
            finally:
                self._spawner.reject()  # nothing, when it was adopted
        finally:
            if self._live.edition is not reload.edition:
                await reload.undo()
        for slot in list(self._supervisor.slots):
            if self._is_old(slot):  # not retired by a ``scale`` meanwhile
                await self._introduce(slot, reload, self._before_drain)
        if self._supervisor.stopping:
            return
        await self._before_drain()
        logger.info("%s: done", "reload" if reread else "restart")

    async def _try(self, reload: Reload) -> None:
        """Until a worker of the new edition is ready, and it is in force."""
        before = partial(self._commit, reload)
        for slot in list(self._supervisor.slots):
            if await self._introduce(slot, reload, before):
                return
        if not self._supervisor.stopping:
            await before()  # there is nobody, or nobody any more

    def _is_old(self, slot: Slot) -> bool:
        worker = slot.successor or slot.current
        return not slot.retired and (worker is None or worker.edition is not self._live.edition)

    async def _introduce(
        self, slot: Slot, reload: Reload, before: Callable[[], Awaitable[None]]
    ) -> bool:
        """Put a new worker into a slot; False when that slot isn't wanted any more.

        Raises:
            BootError: it didn't become ready.
        """
        worker = await self._supervisor.introduce(slot, reload.edition, before)
        if worker is not None and worker.ready_at is not None:
            return True
        if slot.retired or self._supervisor.stopping:
            return False
        sentence = f"no new worker became ready in slot {slot.number}"
        if worker is not None:
            await worker.dead.wait()  # its exit code is known then
            sentence += ": it " + cause(worker).partition("\n")[0]  # the rest is in the log
        raise BootError(sentence)

    async def _commit(self, reload: Reload) -> None:
        self._spawner.adopt()
        self._reloader.commit(reload)
        if any(change.name == "workers" for change in reload.changes):
            try:
                await self.scale(reload.edition.settings.workers)
            except BalancerError as error:
                logger.error("reload: %s", error)
        await self._before_drain()

    async def _before_drain(self) -> None:
        """Let the last worker of an older edition have who waits at listeners that go with it."""
        if sum(map(self._is_in_service, self._supervisor.workers.values())) > 1:
            return
        lanes = self._ports.close_unwanted(self._dispatcher)
        seconds = min(LAST_LOOK, self._live.settings.graceful_timeout)
        with trio.move_on_after(seconds):
            await self._dispatcher.lanes.settled(lanes)
        for lane, address in lanes.items():
            logger.info("no longer listening on %s", address)
            if cut := self._dispatcher.lanes.remove(lane):
                logger.warning("%s: %d connection(s) found no worker", address, cut)

    def _is_in_service(self, worker: WorkerHandle) -> bool:
        old = worker.edition is not self._live.edition
        return old and worker.state in {State.READY, State.STALLED}
