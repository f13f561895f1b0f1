"""Slots and the workers in them: start, watch, replace.

A slot (1…N) stays; the workers in it come and go, one *current* and at times a *successor* that is
booting to replace it.  Each worker has one task, ``_live``, from the decision to start it until it
is buried; nothing but its pidfd says that it is dead.  Who follows is the business of
``Succession``, who has served long enough that of ``Recycler``; what a silent heart means is
decided by ``core.liveness``.
"""

from __future__ import annotations

import errno
import logging
import signal
from itertools import count
from typing import TYPE_CHECKING, final

import trio

from balancer.core.lifecycle import Event, State
from balancer.core.liveness import TICK, Liveness, Verdict
from balancer.core.messages import (
    BootFailed,
    Drain,
    Drained,
    Leaving,
    ProtocolError,
    Quit,
    Ready,
    Spawn,
)
from balancer.errors import AppError
from balancer.master.crew import Crew
from balancer.master.extras import Extras
from balancer.master.hooks import MasterHooks
from balancer.master.mail import hang_up, read_mail
from balancer.master.obituary import report
from balancer.master.plan import Plan
from balancer.master.recycler import Recycler
from balancer.master.slot import Slot
from balancer.master.succession import Succession
from balancer.master.worker import WorkerHandle
from balancer.net.slots import ROWS, Word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balancer.core.messages import WorkerMessage
    from balancer.errors import BalancerError
    from balancer.master.dispatcher import Dispatcher
    from balancer.master.ports import Ports
    from balancer.master.spawner import Spawner
    from balancer.net.listener import Listener
    from balancer.net.slots import SlotTable
    from balancer.settings import Settings

__all__ = ["Supervisor"]

logger = logging.getLogger("balancer")

MERCY = 2.0
"""Seconds between a deadline that a worker keeps by itself and the SIGKILL if it doesn't."""
LAST_WORDS = 0.2
"""Seconds for what a dead worker has said before: a grandchild may hold the channel open."""
HEARTBEAT = int(Word.HEARTBEAT)
JUDGED = frozenset({State.READY, State.STALLED, State.DRAINING})
"""The states in which a heart must beat."""


@final
class Supervisor:
    """Keeps a worker in every slot.  Its tasks run in the nursery that it is given."""

    def __init__(
        self,
        settings: Settings,
        dispatcher: Dispatcher,
        ports: Ports,
        table: SlotTable,
        spawner: Spawner,
        nursery: trio.Nursery,
        hooks: MasterHooks | None = None,
        plan: Plan | None = None,
    ) -> None:
        self._plan = plan or Plan()
        self._observer = self._plan.observer
        self._settings = settings
        self._dispatcher = dispatcher
        self._ports = ports
        self._table = table
        self._spawner = spawner
        self._nursery = nursery
        self._ids = count(1)
        self._rows = list(range(ROWS - 1, -1, -1))
        self._hooks = hooks or MasterHooks(settings)
        self._crew = crew = Crew()
        self.liveness = Liveness(settings.timeout)
        self.slots = crew.slots
        self.workers = crew.workers
        self._succession = Succession(
            settings, crew, ports, dispatcher, self._start_worker, nursery
        )
        self.recycler = Recycler(settings, crew, self.replace, nursery)
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
        for worker in (slot.current, slot.successor):
            if worker is not None:
                self.drain(worker, self._settings.graceful_timeout if seconds is None else seconds)
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
        return await self._succession.replace(slot)

    def drain(
        self, worker: WorkerHandle, seconds: float, *, leave: bool = True, closing: bool = False
    ) -> None:
        """No new connections for a worker; what it has may take ``seconds``.

        With ``leave`` it ends then, or is ended; without, it stays idle.
        """
        booting = worker.state is State.STARTING
        worker.told_to_leave |= leave
        if not worker.step(Event.DRAIN) and worker.state is not State.DRAINING:
            return
        self._dispatcher.close(worker.id)
        if any(slot.current is worker for slot in self.slots):
            self._ports.slot_down(worker.slot, self._dispatcher)
        if booting:
            worker.signal(signal.SIGTERM)  # heard at once until its loop runs, and from then on:
            self._nursery.start_soon(worker.tell, Quit())
            self._nursery.start_soon(self._end, worker, 0.0)
        else:
            self._nursery.start_soon(worker.tell, Drain(seconds, leave, closing))
            if leave:
                self._nursery.start_soon(self._end, worker, seconds)

    def quit(self, worker: WorkerHandle) -> None:
        """End a worker now; its requests are cut."""
        worker.step(Event.STOP)
        worker.told_to_leave = True
        self._dispatcher.close(worker.id)
        self._nursery.start_soon(worker.tell, Quit())
        self._nursery.start_soon(self._end, worker, 0.0)

    async def watch_hearts(self) -> None:
        """Look at every heart at the pace at which they beat."""
        while True:
            hearts = {
                worker.id: worker.words[HEARTBEAT]
                for worker in self.workers.values()
                if worker.state in JUDGED
            }
            for worker_id, verdict in self.liveness.look(trio.current_time(), hearts):
                self._judge(self.workers[worker_id], verdict)
            self.recycler.look(trio.current_time())
            self._dispatcher.look()
            await trio.sleep(TICK)

    # -- one worker ---------------------------------------------------------------------------

    def _start_worker(self, slot: Slot) -> WorkerHandle | None:
        """A new worker on its way, or None, with a line in the log."""
        now = trio.current_time()
        try:
            if not self._rows:
                raise OSError(errno.ENOSPC, f"all {ROWS} rows of the stats table are taken")
            row = self._rows[-1]
            words = self._table.row(row)
            extras = Extras(mailbox=self._plan.mailbox, silent=self._plan.silent)
            try:
                worker = WorkerHandle(next(self._ids), slot.number, row, words, now, extras)
            except OSError:
                extras.close()
                raise
        except OSError as error:
            logger.error("slot %d: no worker can be started: %s", slot.number, error.strerror)
            return None
        self._rows.pop()
        self._table.clear(row)
        self.workers[worker.id] = self._crew.unreported[worker.id] = worker
        self._observer.starting(worker)
        self._nursery.start_soon(self._live, worker, slot)
        return worker

    async def _live(self, worker: WorkerHandle, slot: Slot) -> None:
        """A worker's whole life, from fork to funeral."""
        with trio.move_on_after(self._settings.boot_timeout) as scope:
            await self._fork(worker, slot)
        if scope.cancelled_caught:
            worker.boot_error = self._late("wasn't forked")
            worker.reaped.set()
            self._spawner.give_up(worker)
        worker.far.close()
        worker.extras.forked()
        if worker.pid is not None:
            self._observer.forked(worker)
            await self._attend(worker, slot)
        hang_up(worker, self._observer)
        handed_on = self._bury(worker)
        if worker.ready_at is None:
            await self._reap(worker)  # its exit code may be all that is ever said
        self._succession.after(worker, slot)
        if slot.vacant and not slot.kept and slot in self.slots:
            self.retire_slot(slot)
        await self._reap(worker)
        report(worker, handed_on, self._succession.outlook(slot))
        self._hooks.child_exit(worker)
        self.recycler.forget(worker)
        del self._crew.unreported[worker.id]
        worker.dead.set()
        self._observer.exited(worker)

    async def _reap(self, worker: WorkerHandle) -> None:
        """Wait for the exit code: it comes from the fork server at once, or never if it is dead."""
        with trio.move_on_after(MERCY):
            await worker.reaped.wait()

    async def _fork(self, worker: WorkerHandle, slot: Slot) -> None:
        self._hooks.pre_fork(worker)
        request = Spawn(
            worker.id,
            worker.slot,
            worker.row,
            self._ports.families,
            servers=tuple(self._plan.server_of_bind[bind] for bind in self._ports.binds)
            if self._plan.servers
            else (),
            addresses=tuple(self._ports.addresses),
            inherited=self._ports.inherited_lanes(slot.number),
            extras=worker.extras.names,
            env=slot.env,
            worker_connections=slot.worker_connections,
        )
        ends = [worker.sender.receiving_end, worker.far.fileno(), self._table.fd]
        ends += [*worker.extras.fds, *self._ports.inherited(slot.number)]
        try:
            await self._spawner.spawn(worker, request, ends)
        except AppError as error:
            worker.boot_error = BootFailed(str(error), app=True)
        except OSError as error:
            worker.boot_error = BootFailed(f"can't be forked: {error.strerror}")

    async def _attend(self, worker: WorkerHandle, slot: Slot) -> None:
        """Hear what a worker says, until its pidfd says that it is dead."""
        silence = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, worker, slot, silence)
            nursery.start_soon(self._watch_boot, worker)
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
            logger.info("%s is drained", worker)

    async def _watch_boot(self, worker: WorkerHandle) -> None:
        with trio.move_on_after(self._settings.boot_timeout):
            await worker.booted.wait()
            return
        worker.boot_error = self._late("wasn't ready")
        worker.signal(signal.SIGKILL)

    def _late(self, what: str) -> BootFailed:
        where, seconds = self._settings.where("boot_timeout"), self._settings.boot_timeout
        return BootFailed(f"{what} within {seconds:g} s ({where})")

    def _welcome(self, worker: WorkerHandle, slot: Slot) -> None:
        """A worker is ready."""
        now = trio.current_time()
        if not worker.step(Event.READY):
            return  # told to leave while it was booting
        worker.ready_at = now
        self._succession.passed()
        self.recycler.welcome(worker)
        logger.info("%s is ready after %.0f ms", worker, 1000 * (now - worker.started_at))
        self._dispatcher.add(worker.id, worker.sender, worker.words)
        self._ports.slot_up(slot.number, self._dispatcher)
        worker.booted.set()
        self._observer.ready(worker)
        if slot.successor is worker:
            slot.successor, old = None, slot.current
            slot.current = worker
            if old is not None:  # nobody waits for it: it may take its time
                self.drain(old, self._settings.drain_timeout)
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
        self.drain(worker, self._settings.graceful_timeout)
        slot.current = None
        slot.restarts += 1
        if slot.successor is None:
            self._succession.fill(slot)

    def _bury(self, worker: WorkerHandle) -> int:
        """Everything of a dead worker goes; how many of its connections others get."""
        worker.expected = worker.state in {State.DRAINING, State.STOPPING}
        worker.step(Event.EXIT)
        handed_on = self._dispatcher.remove(worker.id)
        worker.close()
        self._spawner.forget(worker)
        del self.workers[worker.id]
        if worker.pid is not None:
            self._rows.append(worker.row)
        else:  # it may live for a while, unknown, and write into its row: the last to be given out
            self._rows.insert(0, worker.row)
        worker.booted.set()
        return handed_on

    async def _end(self, worker: WorkerHandle, seconds: float) -> None:
        """Kill a worker that doesn't end by itself."""
        with trio.move_on_after(seconds + MERCY):
            await worker.dead.wait()
            return
        if worker.id in self.workers:
            logger.warning("%s didn't end in time and is killed", worker)
            worker.signal(signal.SIGKILL)
            if self.stopping:
                self._spawner.give_up(worker)  # if it isn't even forked: nobody waits for that now

    def _judge(self, worker: WorkerHandle, verdict: Verdict) -> None:
        if verdict is Verdict.SILENT:
            if worker.step(Event.SILENT):
                self._dispatcher.hold(worker.id)
                logger.warning(
                    "%s has had no heartbeat for 1 s: no new connections until it has", worker
                )
        elif verdict is Verdict.BEAT:
            if worker.step(Event.BEAT):
                self._dispatcher.beat(worker.id)
                logger.info("%s has a heartbeat again", worker)
        elif verdict is Verdict.DUMP:
            where, seconds = self._settings.where("timeout"), self._settings.timeout
            logger.error(
                "%s has had no heartbeat for %g s (%s) and is ended", worker, seconds, where
            )
            worker.step(Event.STOP)
            worker.signal(signal.SIGABRT)
            self._nursery.start_soon(self._end, worker, 0.0)
        else:
            worker.signal(signal.SIGKILL)
