"""Slots and the workers in them: start, watch, replace.

A slot (1…N) stays; the workers in it come and go, one *current* and at times a *successor* that is
booting to replace it.  Each worker has one task, ``_live``, from the decision to start it until it
is buried; nothing but its pidfd says that it is dead.  How it comes to be is the business of
``Birth``, how it is made to leave that of ``Farewell``; ``Hearts`` looks whether it lives,
``Recycler`` whether it has served long enough, and ``Succession`` knows who follows.
"""

from __future__ import annotations

import logging
import signal
from itertools import count
from typing import TYPE_CHECKING, final

import trio

from balancer.core.lifecycle import Event, State
from balancer.core.liveness import TICK
from balancer.core.messages import (
    BootFailed,
    Drained,
    Leaving,
    ProtocolError,
    Ready,
    SetLogLevel,
)
from balancer.master.birth import Birth
from balancer.master.coroner import Coroner
from balancer.master.crew import Crew
from balancer.master.farewell import MERCY, Farewell
from balancer.master.hearts import Hearts
from balancer.master.hooks import MasterHooks
from balancer.master.mail import hang_up, read_mail
from balancer.master.obituary import report
from balancer.master.plan import Plan
from balancer.master.recycler import Recycler
from balancer.master.slot import Slot
from balancer.master.succession import Succession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from balancer.core.liveness import Liveness
    from balancer.core.messages import WorkerMessage
    from balancer.errors import BalancerError
    from balancer.master.dispatcher import Dispatcher
    from balancer.master.live import Edition, Live
    from balancer.master.ports import Ports
    from balancer.master.spawner import Spawner
    from balancer.master.upstreams import Upstreams
    from balancer.master.worker import WorkerHandle
    from balancer.net.listener import Listener
    from balancer.net.slots import SlotTable

__all__ = ["Supervisor"]

logger = logging.getLogger("balancer")

LAST_WORDS = 0.2
"""Seconds for what a dead worker has said before: a grandchild may hold the channel open."""


@final
class Supervisor:
    """Keeps a worker in every slot.  Its tasks run in the nursery that it is given."""

    def __init__(
        self,
        live: Live,
        dispatcher: Dispatcher,
        ports: Ports,
        table: SlotTable,
        spawner: Spawner,
        nursery: trio.Nursery,
        hooks: MasterHooks | None = None,
        plan: Plan | None = None,
        upstreams: Upstreams | None = None,
    ) -> None:
        self._plan = plan or Plan()
        self._observer = self._plan.observer
        self._in_force = live
        self._dispatcher = dispatcher
        self._ports = ports
        self._nursery = nursery
        self._hooks = hooks or MasterHooks(live)
        self._crew = crew = Crew()
        self._birth = Birth(live, self._plan, ports, table, spawner, upstreams)
        self._farewell = Farewell(crew, ports, dispatcher, spawner, nursery, self._observer)
        self._coroner = Coroner(nursery)
        self._hearts = Hearts(live, crew, dispatcher, self._farewell)
        self.slots = crew.slots
        self.workers = crew.workers
        self._succession = Succession(
            live, crew, ports, dispatcher, self._start_worker, self._relieve, nursery
        )
        self.recycler = Recycler(live, crew, self.replace, nursery)
        self.on_tick: Callable[[], None] = lambda: None
        """Called whenever the hearts have been looked at."""
        self.all_ready = trio.Event()
        """All slots have had a worker that was ready."""

    @property
    def unreported(self) -> dict[int, WorkerHandle]:
        """The workers, and the dead whose exit code isn't known yet."""
        return self._crew.unreported

    @property
    def stopping(self) -> bool:
        """Whether nobody is replaced any more."""
        return self._crew.stopping

    @stopping.setter
    def stopping(self, value: bool) -> None:
        self._crew.stopping = value

    @property
    def next_id(self) -> int:
        """The id of the next worker."""
        return self._birth.next_id

    @next_id.setter
    def next_id(self, value: int) -> None:
        self._birth.next_id = value

    @property
    def liveness(self) -> Liveness:
        """Whose heart beats."""
        return self._hearts.liveness

    @property
    def failed(self) -> trio.Event:
        """Set when no worker will ever be ready."""
        return self._succession.failed

    @property
    def failure(self) -> BalancerError | None:
        """Why."""
        return self._succession.failure

    def add_slot(self, env: Mapping[str, str] | None = None, worker_connections: int = 0) -> Slot:
        """One more slot, with a worker on its way; RunError when it can't have its listeners.

        ``env`` is set in the environment of every worker in it, and ``worker_connections`` is how
        many connections each may hold, where that is not 0.
        """
        taken = {slot.number for slot in self.slots}
        number = next(number for number in count(1) if number not in taken)
        variables = {**self._plan.env, **(env or {})}
        slot = Slot(number, self._plan.respawn, variables, worker_connections)
        self._ports.add_slot(slot.number)
        self.slots.append(slot)
        self._ports.slot_down(slot.number, self._dispatcher)  # until somebody is ready
        self._succession.fill(slot)
        return slot

    def retire_slot(self, slot: Slot | None = None, seconds: float | None = None) -> None:
        """One slot less: the last; its workers finish what they have."""
        slot = self.slots[-1] if slot is None else slot
        self.slots.remove(slot)
        slot.retired = True
        slot.backoff.cancel()
        for worker in (slot.current, slot.successor, *slot.predecessors):
            if worker is not None:
                self.drain(
                    worker, self._in_force.settings.graceful_timeout if seconds is None else seconds
                )
        # Also those that were replaced long ago: one that hangs has not closed its listeners.
        workers = [worker for worker in self.workers.values() if worker.slot == slot.number]
        shards = self._ports.retire_slot(slot.number, self._dispatcher)
        self._nursery.start_soon(self._finish_slot, shards, workers)

    async def _finish_slot(self, shards: list[Listener], workers: list[WorkerHandle]) -> None:
        """Close a slot's shards when its workers have: the last to close cuts who waits there."""
        for worker in workers:
            await worker.dead.wait()
        self._ports.finish(shards, self._dispatcher)

    async def replace(self, slot: Slot) -> bool:
        """A new worker for a slot; when it is ready, the old one drains.  False if it never is."""
        worker = await self._succession.replace(slot)
        return worker is not None and worker.ready_at is not None

    async def introduce(
        self, slot: Slot, edition: Edition, before: Callable[[], Awaitable[None]]
    ) -> WorkerHandle | None:
        """The same for a roll: a worker of this edition, and ``before`` the old one drains.

        The new one, whose ``ready_at`` says whether it became ready; None: it couldn't be started.
        """
        return await self._succession.replace(slot, edition, before)

    def drain(self, worker: WorkerHandle, seconds: float, *, closing: bool = False) -> None:
        """No new connections for a worker; what it has may take ``seconds``, then it is ended."""
        self._farewell.drain(worker, seconds, closing=closing)

    def park(self, worker: WorkerHandle, seconds: float) -> None:
        """As ``drain``, but it stays, idle, until ``resume``."""
        self._farewell.park(worker, seconds)

    def resume(self, worker: WorkerHandle) -> None:
        """Have a parked worker take connections again; ``worker.resumed`` says when it does."""
        self._farewell.resume(worker)

    def set_log_level(self, level: str) -> None:
        """Workers log from this level up: those there are, and those to come."""
        self._birth.log_level = level
        for worker in self.workers.values():
            self._nursery.start_soon(worker.tell, SetLogLevel(level))

    def quit(self, worker: WorkerHandle) -> None:
        """End a worker now; its requests are cut."""
        self._farewell.quit(worker)

    async def watch_hearts(self) -> None:
        """Look at every heart at the pace at which they beat."""
        while True:
            self._hearts.look(trio.current_time())
            self.recycler.look(trio.current_time())
            self._dispatcher.look()
            self.on_tick()
            await trio.sleep(TICK)

    # -- one worker ---------------------------------------------------------------------------

    def _start_worker(self, slot: Slot, edition: Edition) -> WorkerHandle | None:
        """A new worker on its way, or None, with a line in the log."""
        worker = self._birth.begin(slot, edition)
        if worker is not None:
            self.workers[worker.id] = self._crew.unreported[worker.id] = worker
            self._observer.starting(worker)
            self._nursery.start_soon(self._live, worker, slot)
        return worker

    async def _live(self, worker: WorkerHandle, slot: Slot) -> None:
        """A worker's whole life, from fork to funeral."""
        self._hooks.pre_fork(worker)
        await self._birth.fork(worker, slot)
        if worker.pid is not None:
            self._coroner.born(worker)
            self._observer.forked(worker)
            await self._attend(worker, slot)
        hang_up(worker, self._observer)
        handed_on = self._bury(worker)
        self._coroner.died(worker, slot)
        if worker.ready_at is None:
            await self._reap(worker)  # its exit code may be all that is ever said
        self._succession.after(worker, slot)
        tried = worker.on_trial and worker.ready_at is None and slot.current is not None
        follows = "the one before stays" if tried else self._succession.outlook(slot)
        if slot.vacant and not slot.kept and slot in self.slots:
            self.retire_slot(slot)
        await self._reap(worker)
        await self._coroner.examine(worker, slot)
        report(worker, handed_on, follows)
        self._hooks.child_exit(worker)
        self.recycler.forget(worker)
        del self._crew.unreported[worker.id]
        worker.dead.set()
        self._observer.exited(worker)

    async def _reap(self, worker: WorkerHandle) -> None:
        """Wait for the exit code: it comes from the fork server at once, or never if it is dead."""
        with trio.move_on_after(MERCY):
            await worker.reaped.wait()

    async def _attend(self, worker: WorkerHandle, slot: Slot) -> None:
        """Hear what a worker says, until its pidfd says that it is dead."""
        silence = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, worker, slot, silence)
            nursery.start_soon(self._birth.watch_boot, worker)
            if worker.extras.mailbox is not None:
                nursery.start_soon(read_mail, worker, worker.extras.mailbox, self._observer)
            await trio.lowlevel.wait_readable(worker.pidfd)
            with trio.move_on_after(LAST_WORDS):
                await silence.wait()
            nursery.cancel_scope.cancel()

    async def _listen(self, worker: WorkerHandle, slot: Slot, silence: trio.Event) -> None:
        try:
            async for message in worker.channel.messages():
                self._hear(worker, slot, message)
        except ProtocolError as error:  # an app that wrote to a descriptor that isn't its own
            logger.error("%s said what is no message (%s) and is ended", worker, error)
            worker.killed_for = "it said what is no message"
            worker.signal(signal.SIGKILL)
        hang_up(worker, self._observer)
        silence.set()

    def _hear(self, worker: WorkerHandle, slot: Slot, message: WorkerMessage) -> None:
        if isinstance(message, Ready):
            self._welcome(worker, slot)
        elif isinstance(message, BootFailed):
            worker.boot_error = message
        elif isinstance(message, Leaving):
            self._let_go(worker, slot, message)
        elif isinstance(message, Drained):
            worker.idle.set()
            logger.info("%s is drained", worker)
        elif self._farewell.resumed(worker):
            logger.info("%s is in service again", worker)

    def _welcome(self, worker: WorkerHandle, slot: Slot) -> None:
        """A worker is ready."""
        now = trio.current_time()
        if not worker.step(Event.READY):
            return  # told to leave while it was booting
        worker.ready_at = now
        self._succession.passed()
        self.recycler.welcome(worker)
        logger.info("%s is ready after %.0f ms", worker, 1000 * (now - worker.started_at))
        weights, lanes = worker.edition.settings.worker_weights, worker.edition.lanes
        weight = dict(enumerate(weights, 1)).get(slot.number, 1)
        self._dispatcher.add(worker.id, worker.sender, worker.words, slot.number, weight, lanes)
        self._ports.slot_up(slot.number, self._dispatcher, lanes)
        worker.booted.set()
        self._observer.ready(worker)
        if slot.successor is worker:
            if slot.current is not None:
                slot.predecessors.append(slot.current)
            slot.current, slot.successor = worker, None
        if all(slot.current and slot.current.ready_at is not None for slot in self.slots):
            self.all_ready.set()

    def _let_go(self, worker: WorkerHandle, slot: Slot, wish: Leaving) -> None:
        """A worker wants to go: it may, and is replaced; first, if that can wait."""
        if slot.current is not worker or slot.retired or self.stopping:
            return
        if wish.replace_first:
            self.recycler.wish(worker, wish.reason)
            return
        logger.info("%s is leaving: %s", worker, wish.reason)
        if not slot.kept:
            self.retire_slot(slot)
            return
        self.drain(worker, self._in_force.settings.graceful_timeout)
        slot.current = None
        slot.restarts += 1
        if slot.successor is None:
            self._succession.fill(slot)

    def _relieve(self, worker: WorkerHandle) -> None:
        """Let a worker go that has been replaced: nobody waits for it, it may take its time."""
        self.drain(worker, self._in_force.settings.drain_timeout)

    def _bury(self, worker: WorkerHandle) -> int:
        """Everything of a dead worker goes; how many of its connections others get."""
        worker.expected = worker.state in {State.DRAINING, State.STOPPING}
        worker.step(Event.EXIT)
        handed_on = self._dispatcher.remove(worker.id)
        worker.close()
        self._birth.forget(worker)
        del self.workers[worker.id]
        self._observer.closed(worker)
        worker.booted.set()
        return handed_on
