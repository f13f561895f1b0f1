"""Recycling: workers that have served long enough are replaced, a few at a time.

A worker says itself that it has had its requests; its age and its memory are the master's to watch,
because an app that leaks is not to be trusted with that.  Who may go is decided by
``core.recycle``.  The successor is ready before the old worker drains, so nothing is refused and
nothing is cut.  A worker counts as being recycled until it has left; one that takes longer than
``--graceful-timeout`` over that (it may hold a WebSocket for an hour) holds up nobody else.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, final

import trio

from balancer.core.lifecycle import State
from balancer.core.recycle import Limits, Recycling
from balancer.master.memory import resident
from balancer.settings.units import show_duration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from balancer.master.crew import Crew
    from balancer.master.live import Live
    from balancer.master.slot import Slot
    from balancer.master.worker import WorkerHandle

__all__ = ["Recycler"]

logger = logging.getLogger("balancer")

READINGS = 16
"""Workers whose memory is read in one look: each reading takes up to 0.1 ms, in which the master
accepts nothing.  At four looks a second, 64 workers are read every second, 1,024 every 16."""


@final
class Recycler:
    """Decides when workers in service go, and replaces them by ``replace``."""

    def __init__(
        self,
        live: Live,
        crew: Crew,
        replace: Callable[[Slot], Awaitable[bool]],
        nursery: trio.Nursery,
    ) -> None:
        self._live = live
        self._crew = crew
        self._replace = replace
        self._nursery = nursery
        self._recycling = Recycling()
        self._limits: dict[int, Limits] = {}
        self._last_read = 0  # the id of the worker whose memory was read last
        self._paused = False

    @property
    def paused(self) -> bool:
        """Nobody new goes: a roll replaces everybody, one after the other."""
        return self._paused

    @paused.setter
    def paused(self, value: bool) -> None:
        self._paused = value
        self._grant()

    def welcome(self, worker: WorkerHandle) -> None:
        """A worker is ready: its time begins."""
        settings, jitter = self._live.settings, random.random()
        limits = Limits.draw(settings.workers_lifetime, settings.workers_max_rss, jitter)
        if settings.workers_max_rss and limits.outgrown(rss := resident(worker.pid) or 0):
            # its successor would be no smaller: they would be replaced for ever
            logger.warning(
                "%s has %s of RSS before its first request, and so isn't replaced for it: raise %s",
                worker,
                _mebibytes(rss),
                settings.where("workers_max_rss"),
            )
            limits = Limits(limits.lifetime)
        self._limits[worker.id] = limits

    def forget(self, worker: WorkerHandle) -> None:
        """It is dead, and reaped."""
        self._limits.pop(worker.id, None)
        self._recycling.over(worker.id)
        self._grant()

    def wish(self, worker: WorkerHandle, reason: str) -> None:
        """A worker wants to be replaced, or should be."""
        if worker.id in self._recycling or worker.ready_at is None:
            return
        age = trio.current_time() - worker.ready_at
        logger.info("%s is to be replaced: %s, after %s", worker, reason, _readable(age))
        self._recycling.ask(worker.id)
        self._grant()

    def look(self, now: float) -> None:
        """Time has moved, and memory has grown."""
        if not self._live.settings.workers_lifetime and not self._live.settings.workers_max_rss:
            return
        served = [slot.current for slot in self._crew.slots if slot.current is not None]
        wanted = [each for each in served if each.state is State.READY and self._stays(each)]
        for worker in wanted:
            assert worker.ready_at is not None
            if self._limits[worker.id].outlived(now - worker.ready_at):
                where = self._live.settings.where("workers_lifetime")
                self.wish(worker, f"its time is over ({where})")
        if self._live.settings.workers_max_rss:
            for worker in self._next_readings(wanted):
                self._weigh(worker)

    def _stays(self, worker: WorkerHandle) -> bool:
        return worker.id not in self._recycling

    def _next_readings(self, workers: list[WorkerHandle]) -> list[WorkerHandle]:
        """The next few in the order of their ids, and round again."""
        workers.sort(key=lambda each: (each.id <= self._last_read, each.id))
        some = workers[:READINGS]
        if some:
            self._last_read = some[-1].id
        return some

    def _weigh(self, worker: WorkerHandle) -> None:
        rss = resident(worker.pid)
        if rss is not None and self._limits[worker.id].outgrown(rss):
            where = self._live.settings.where("workers_max_rss")
            self.wish(worker, f"it has {_mebibytes(rss)} of RSS ({where})")

    def _grant(self) -> None:
        if self._paused or self._crew.stopping:
            return
        for worker_id in self._recycling.grant(len(self._crew.slots)):
            if worker_id in self._crew.workers:  # else it is dead, and about to be forgotten
                self._nursery.start_soon(self._recycle, self._crew.workers[worker_id])

    async def _recycle(self, worker: WorkerHandle) -> None:
        slot = next((each for each in self._crew.slots if each.current is worker), None)
        if slot is not None and slot.successor is not None:  # a roll was there before
            await slot.successor.booted.wait()
        if slot is not None and slot.current is worker and self._crew.needs(slot):
            slot.restarts += 1
            if not await self._replace(slot) and slot.current is worker:
                await self._ask_again(worker, slot)
                return
            with trio.move_on_after(self._live.settings.graceful_timeout):
                await worker.dead.wait()
        self._recycling.over(worker.id)
        self._grant()

    async def _ask_again(self, worker: WorkerHandle, slot: Slot) -> None:
        """Its successor failed: others get their turn, and then it does, ever later."""
        self._recycling.over(worker.id)
        self._grant()
        await trio.sleep(slot.respawn.died(trio.current_time(), None, random.random()))
        if worker.id in self._crew.workers and slot.current is worker:
            self._recycling.ask(worker.id)
            self._grant()


def _mebibytes(size: int) -> str:
    return f"{size >> 20}MiB"


def _readable(seconds: float) -> str:
    return show_duration(float(round(seconds))) if seconds >= 60 else f"{seconds:.1f} s"
