"""How a worker is made to leave: asked, told, and in the end killed; or to pause.

Whichever way it goes, connections go to others from the first moment, and a deadline stands behind
what it is trusted to do by itself.
"""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING, final

import trio

from balancer.core.lifecycle import Event, State
from balancer.core.messages import Drain, Quit, Resume

if TYPE_CHECKING:
    from balancer.master.crew import Crew
    from balancer.master.dispatcher import Dispatcher
    from balancer.master.plan import Observer
    from balancer.master.ports import Ports
    from balancer.master.spawner import Spawner
    from balancer.master.worker import WorkerHandle

__all__ = ["MERCY", "Farewell"]

logger = logging.getLogger("balancer")

MERCY = 2.0
"""Seconds between a deadline that a worker keeps by itself and the SIGKILL if it doesn't."""


@final
class Farewell:
    """Lets workers go; its tasks run in the nursery that it is given."""

    def __init__(
        self,
        crew: Crew,
        ports: Ports,
        dispatcher: Dispatcher,
        spawner: Spawner,
        nursery: trio.Nursery,
        observer: Observer,
    ) -> None:
        self._crew = crew
        self._ports = ports
        self._dispatcher = dispatcher
        self._spawner = spawner
        self._nursery = nursery
        self._observer = observer

    def drain(self, worker: WorkerHandle, seconds: float, *, closing: bool) -> None:
        """No new connections for a worker; what it has may take ``seconds``, then it is ended.

        ``closing`` is the message's.
        """
        booting = worker.state is State.STARTING
        worker.told_to_leave = True
        if not worker.step(Event.DRAIN) and worker.state is not State.DRAINING:
            return
        self._close(worker)
        if booting:
            self._nursery.start_soon(self._wake_and_quit, worker)
        else:
            self._nursery.start_soon(worker.tell, Drain(seconds, closing=closing))
            self._nursery.start_soon(self._end, worker, seconds)

    def park(self, worker: WorkerHandle, seconds: float) -> None:
        """As ``drain``, but it stays, idle, until ``resume``."""
        if worker.step(Event.PARK):
            worker.idle, worker.resumed = trio.Event(), trio.Event()
            self._close(worker)
            self._nursery.start_soon(worker.tell, Drain(seconds, leave=False))

    def resume(self, worker: WorkerHandle) -> None:
        """Ask a parked worker to take connections again; it says ``Resumed`` when it does.

        Not before that: what it is sent while its doors are closed, it refuses for good.
        """
        self._nursery.start_soon(worker.tell, Resume())

    def resumed(self, worker: WorkerHandle) -> bool:
        """It does; False when it was told to leave meanwhile."""
        if not worker.step(Event.RESUME):
            return False
        self._dispatcher.reopen(worker.id)
        if any(slot.current is worker for slot in self._crew.slots):
            self._ports.slot_up(worker.slot, self._dispatcher, worker.edition.lanes)
        worker.resumed.set()
        self._observer.ready(worker)
        return True

    def _close(self, worker: WorkerHandle) -> None:
        self._dispatcher.close(worker.id)
        if any(slot.current is worker for slot in self._crew.slots):
            self._ports.slot_down(worker.slot, self._dispatcher)
        self._observer.closed(worker)

    def quit(self, worker: WorkerHandle) -> None:
        """End a worker now; its requests are cut."""
        worker.step(Event.STOP)
        worker.told_to_leave = True
        self._dispatcher.close(worker.id)
        self._observer.closed(worker)
        self._tell_to_quit(worker)

    def dump(self, worker: WorkerHandle) -> None:
        """End a worker that hears nothing any more; its last words are its stacks."""
        worker.step(Event.STOP)
        worker.signal(signal.SIGABRT)
        self._nursery.start_soon(self._end, worker, 0.0)

    def _tell_to_quit(self, worker: WorkerHandle) -> None:
        self._nursery.start_soon(worker.tell, Quit())
        self._nursery.start_soon(self._end, worker, 0.0)

    async def _wake_and_quit(self, worker: WorkerHandle) -> None:
        """Its loop hears the message; until that runs the signal makes it look for one."""
        self._nursery.start_soon(self._end, worker, 0.0)
        await worker.tell(Quit())
        worker.signal(signal.SIGTERM)

    async def _end(self, worker: WorkerHandle, seconds: float) -> None:
        """Kill a worker that doesn't end by itself."""
        with trio.move_on_after(seconds + MERCY):
            await worker.dead.wait()
            return
        if worker.id in self._crew.workers:
            logger.warning("%s didn't end in time and is killed", worker)
            worker.killed_for = worker.killed_for or f"it didn't end within {round(seconds, 1):g} s"
            worker.signal(signal.SIGKILL)
            if self._crew.stopping:
                self._spawner.give_up(worker)  # if it isn't even forked: nobody waits for that now
