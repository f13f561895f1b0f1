"""Who comes after a worker, and when: after its death, and in its place while it lives.

What a death means is decided by ``core.respawn``; here the slots are filled accordingly.  A slot
that has neither a worker nor one on its way is in backoff, or waits for the files to change: with
``--reload``, an app that can't start is no reason to end, because somebody is about to mend it.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, final

import trio

from balancer.core.messages import BootFailed
from balancer.core.respawn import BootGate
from balancer.errors import AppError, BalancerError, BootError, ExitCode
from balancer.master.obituary import cause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from balancer.master.crew import Crew
    from balancer.master.dispatcher import Dispatcher
    from balancer.master.live import Edition, Live
    from balancer.master.ports import Ports
    from balancer.master.slot import Slot
    from balancer.master.worker import WorkerHandle

__all__ = ["Succession"]

logger = logging.getLogger("balancer")


@final
class Succession:
    """Fills slots, by ``start``, which begins a worker's life or returns None if it can't.

    ``relieve`` lets a worker go whose successor is ready.
    """

    def __init__(
        self,
        live: Live,
        crew: Crew,
        ports: Ports,
        dispatcher: Dispatcher,
        start: Callable[[Slot, Edition], WorkerHandle | None],
        relieve: Callable[[WorkerHandle], None],
        nursery: trio.Nursery,
    ) -> None:
        self._live = live
        self._crew = crew
        self._ports = ports
        self._dispatcher = dispatcher
        self._start = start
        self._relieve = relieve
        self._nursery = nursery
        self._gate = BootGate()
        self._patient = live.settings.reload
        self.failed = trio.Event()
        self.failure: BalancerError | None = None
        """Why no worker will ever be ready."""

    def passed(self) -> None:
        """A worker is ready: from now on no failure is the end."""
        self._gate.passed = True

    def fill(self, slot: Slot) -> None:
        """A worker for a vacant slot, now; if that can't be, later."""
        slot.current = self._start(slot, self._live.edition)
        if slot.vacant and slot.kept:
            self._fill_later(slot, None)

    async def replace(
        self,
        slot: Slot,
        edition: Edition | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> WorkerHandle | None:
        """A new worker for a slot; when it is ready, the old one drains, ``before`` or after.

        The new one, whose ``ready_at`` says whether it ever became ready; None: there was none.
        It is of this ``edition``, or of the one in force.
        """
        while slot.successor is not None and not slot.successor.booted.is_set():
            await slot.successor.booted.wait()  # others wait for it, too: only one goes on
        if not self._crew.needs(slot):
            return None
        slot.backoff.cancel()
        successor = slot.successor = self._start(slot, edition or self._live.edition)
        if successor is None:
            if slot.vacant and slot.kept:
                self._fill_later(slot, None)
            return None
        await successor.booted.wait()
        if successor.ready_at is not None:
            # now: while ``before`` takes its time this one may be replaced, too
            replaced = slot.predecessors[-1:]
            if before is not None:
                await before()
            self._let_go(slot, replaced)
        return successor

    def _let_go(self, slot: Slot, replaced: list[WorkerHandle]) -> None:
        """These were in a slot before, and have a successor that is ready."""
        for old in replaced:
            if old in slot.predecessors:
                slot.predecessors.remove(old)
                if self._crew.needs(slot):
                    self._relieve(old)

    def after(self, worker: WorkerHandle, slot: Slot) -> None:
        """A worker is dead."""
        if worker is not slot.current and worker is not slot.successor:
            return  # it had been replaced before it went
        if slot.successor is worker:
            slot.successor = None
        if slot.current is worker:
            slot.current, slot.successor = slot.successor, None
            self._ports.slot_down(slot.number, self._dispatcher)  # a successor may boot for long
        if slot.vacant and self._crew.refills(slot):
            if worker.ready_at is None and self._gives_up(worker):
                return
            slot.restarts += 1
            self._fill_later(slot, worker.ready_at)

    def outlook(self, slot: Slot) -> str:
        """What is to be said of a slot whose worker has died."""
        if not slot.vacant or not self._crew.refills(slot) or self.failed.is_set():
            return "replaced" if slot.current else "not replaced"
        if self._patient and not self._gate.passed:
            return "the next change of a file starts another one (--reload)"
        return f"next one in {max(0.0, slot.resumes_at - trio.current_time()):.1f} s"

    def _fill_later(self, slot: Slot, ready_at: float | None) -> None:
        """A worker for a vacant slot, at once or later; ``ready_at`` is of the one before."""
        now = trio.current_time()
        delay = slot.respawn.died(now, ready_at, random.random())
        slot.resumes_at = now + delay
        if delay:
            slot.backoff = trio.CancelScope(deadline=slot.resumes_at)
            self._nursery.start_soon(self._back_off, slot)
        else:
            self.fill(slot)

    async def _back_off(self, slot: Slot) -> None:
        with slot.backoff:
            await trio.sleep_forever()
        if slot.vacant and self._crew.needs(slot):
            self.fill(slot)

    def _gives_up(self, worker: WorkerHandle) -> bool:
        """Whether nobody is to follow a worker that never was ready."""
        error = worker.boot_error or BootFailed("died before it was ready")
        if self._patient:
            return not self._gate.passed
        verdict = self._gate.failed(ExitCode.APP if error.app else ExitCode.BOOT)
        if verdict is None:
            return False
        if self.failure is None:
            # the traceback is in the log
            sentence = (error.text if error.app else cause(worker)).partition("\n")[0]
            self.failure = (
                AppError(sentence)
                if error.app
                else BootError(f"no worker became ready: the last one {sentence}")
            )
            self.failed.set()
        return True
