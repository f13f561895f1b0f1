"""How many workers there are, and what single ones are told, on request.

With ``wait`` each returns when the thing is done, and raises when it can't be; without, when it is
begun.  Who waits and goes away changes nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, final

import trio

from balancer.core.lifecycle import State
from balancer.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from balancer.master.hooks import MasterHooks
    from balancer.master.live import Live
    from balancer.master.slot import Slot
    from balancer.master.supervisor import Supervisor
    from balancer.master.worker import WorkerHandle

__all__ = ["MAX_WORKERS", "Staffing"]

logger = logging.getLogger("balancer")

MAX_WORKERS = 1024
RESUMING = 5.0
"""Seconds for a worker to say that it is in service again."""
IN_SERVICE = frozenset({State.READY, State.STALLED})


@final
class Staffing:
    """Acts on the supervisor's slots and workers; its tasks run in the nursery that it is given."""

    def __init__(
        self,
        live: Live,
        supervisor: Supervisor,
        hooks: MasterHooks,
        nursery: trio.Nursery,
    ) -> None:
        self._live = live
        self._supervisor = supervisor
        self._hooks = hooks
        self._nursery = nursery

    # -- how many -----------------------------------------------------------------------------

    async def scale(self, workers: int | None, by: int, *, wait: bool) -> int:
        """Have that many workers, or ``by`` more; how many that are.

        Raises:
            UsageError: too few, or too many.
            RunError: no descriptors left; with ``wait``, a new worker that didn't become ready.
        """
        slots = self._supervisor.slots
        before = len(slots)
        count = before + by if workers is None else workers
        if not 1 <= count <= MAX_WORKERS:
            raise UsageError(f"scale {count}: there can be 1 to {MAX_WORKERS} workers")
        if count != before:
            logger.info("scaling from %d to %d workers", before, count)
        added = [self._supervisor.add_slot() for _ in range(count - before)]
        leaving = [worker for slot in slots[count:] for worker in self._workers_of(slot)]
        while len(slots) > count:
            self._supervisor.retire_slot()
        for worker in self._supervisor.workers.values():
            if worker.state is State.DRAINED and worker not in leaving:
                self._warn_if_nobody(worker.id)
                break
        if count != before:
            self._hooks.nworkers_changed(count, before)
        if wait:
            for slot in added:
                await self._filled(slot)
            for worker in leaving:
                await worker.dead.wait()
        return count

    async def _filled(self, slot: Slot) -> None:
        worker = slot.current
        if worker is not None:
            await worker.booted.wait()
        if (worker is None or worker.ready_at is None) and not slot.retired:
            raise RunError(
                f"scale: slot {slot.number} has no worker that is ready (the log says why); it is "
                "tried again and again"
            )

    def _workers_of(self, slot: Slot) -> list[WorkerHandle]:
        return [each for each in self._supervisor.workers.values() if each.slot == slot.number]

    # -- single ones --------------------------------------------------------------------------

    async def replace(self, worker_id: int, *, wait: bool) -> None:
        """Put a new worker in the place of one, ready before that leaves.

        Raises:
            RunError: there is no such worker; with ``wait``, the new one didn't become ready.
        """
        slots = {each.current: each for each in self._supervisor.slots if each.current}
        worker = _find("restart", worker_id, slots)
        slot = slots[worker]
        over = trio.Event()
        self._nursery.start_soon(self._replace, worker, slot, over)
        if wait:
            await over.wait()
            if slot.current is worker:
                raise RunError(
                    f"restart {worker_id}: no new worker became ready (the log says why); this one "
                    "stays"
                )

    async def _replace(self, worker: WorkerHandle, slot: Slot, over: trio.Event) -> None:
        if slot.successor is not None:  # somebody else is at it
            await slot.successor.booted.wait()
        if slot.current is worker:
            logger.info("%s is replaced on request", worker)
            slot.restarts += 1
            if not await self._supervisor.replace(slot) and slot.current is worker:
                logger.error("restart: no new worker became ready; %s stays", worker)
        over.set()

    async def drain(self, worker_id: int, *, wait: bool) -> None:
        """Take a worker out of service: it finishes what it has, and stays, idle, until ``resume``.

        Raises:
            RunError: there is no such worker in service.
        """
        worker = _find("drain", worker_id, self._serving())
        if worker.state is not State.DRAINED:
            logger.info("%s is drained on request", worker)
            self._supervisor.park(worker, self._live.settings.drain_timeout)
            self._warn_if_nobody(worker_id)
        if wait:
            await _first(worker.idle, worker.resumed, worker.dead)
            if worker.state is not State.DRAINED and not worker.dead.is_set():
                raise RunError(f"drain {worker_id}: it was put back into service meanwhile")

    def _warn_if_nobody(self, drained: int) -> None:
        if not any(each.state is State.READY for each in self._supervisor.workers.values()):
            logger.warning(
                "no worker is in service any more: new connections wait (try: balancer resume %d)",
                drained,
            )

    async def resume(self, worker_id: int) -> None:
        """Put a worker that was drained back into service; returns when it is.

        Raises:
            RunError: there is no such worker, or it doesn't answer.
        """
        worker = _find("resume", worker_id, self._serving())
        if worker.state is not State.DRAINED:
            return
        self._supervisor.resume(worker)
        with trio.move_on_after(RESUMING):
            await _first(worker.resumed, worker.dead)
        if not worker.resumed.is_set():
            raise RunError(
                f"resume {worker_id}: the worker doesn't answer; unless it was told to leave, it "
                "will be in service when it does"
            )

    def _serving(self) -> list[WorkerHandle]:
        """Those in service, and those that can be put back."""
        states = {*IN_SERVICE, State.DRAINED}
        return [each for each in self._supervisor.workers.values() if each.state in states]


def _find(command: str, worker_id: int, among: Collection[WorkerHandle]) -> WorkerHandle:
    for worker in among:
        if worker.id == worker_id:
            return worker
    there = ", ".join(str(each.id) for each in among) or "none"
    raise RunError(f"{command} {worker_id}: no such worker in service (there are: {there})")


async def _first(*events: trio.Event) -> None:
    """Wait until any of these is set."""
    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(_wait_then_cancel, event, nursery.cancel_scope)


async def _wait_then_cancel(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
