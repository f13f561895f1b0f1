"""The master: ``master.dispatcher`` without sockets, around the same scheduler.

What the dispatcher does is done here in the same order: it hears an event, looks at the loads of a
few workers, asks for recalls, then for hand-offs, and sets its alarm.  Its own time costs nothing:
a real master hands over some 20,000 connections a second, and whoever simulates more of them asks
what the policy would do if it could.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, final

from balancer.core.books import Hold
from balancer.core.liveness import SILENCE
from balancer.core.scheduler import Scheduler
from balancer.master.dispatcher import GLANCES, LONGEST_NAP
from benchmarks.simulate.clock import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from balancer.core.books import Connection
    from benchmarks.simulate.clock import Clock
    from benchmarks.simulate.crew import Crew, Request, Worker
    from benchmarks.simulate.setup import Setup
    from benchmarks.simulate.tally import Tally

__all__ = ["Master"]


@final
class Master:
    """A ``Door`` that hands over; ``scheduler`` may be read."""

    def __init__(
        self,
        clock: Clock,
        crew: Crew,
        tally: Tally,
        setup: Setup,
        draws: Callable[[], float],
        addresses: Random,
    ) -> None:
        assert setup.make is not None
        make = partial(setup.make, draws, self._name_of)
        self._clock = clock
        self._crew = crew
        self._tally = tally
        self._weights = setup.weights
        self._ack = setup.costs.ack
        self._late = setup.costs.after_work
        self.scheduler = Scheduler(
            1, make, window=setup.window, limit=setup.limit, recall=setup.recall, lead=setup.lead
        )
        self._roster = self.scheduler.roster
        self._lane = self.scheduler.lanes[0]
        self._measures = self._lane.free.uses_load
        self._keys = setup.addresses if make().uses_key else 0
        self._random = addresses
        self._backlog: deque[Request] = deque()  # connections that the kernel has
        self._requests: dict[int, Request] = {}  # by number of the connection
        self._by_id: dict[int, Worker] = {}
        self._rota = 0  # the slot whose load is looked at next
        self._alarm = NEVER
        self._timed = setup.recall is not None
        self._nap = LONGEST_NAP if setup.recall is None else min(setup.recall, LONGEST_NAP)
        self._hearts: dict[int, float] = {}  # who is overdue, and when that was seen
        self._still: dict[int, float] = {}  # whose loop doesn't turn for long, and since when
        self._queued, self._queued_at = 0, 0.0
        self.probe: Callable[[Master], None] | None = None
        """Called at every look, for tests."""

    @property
    def now(self) -> float:
        """Simulated seconds since the start."""
        return self._clock.now

    # -- what it hears ------------------------------------------------------------------------

    def connect(self, request: Request) -> None:
        if self._backlog or not self.scheduler.accepting(0):
            self._backlog.append(request)
            return
        self._accept(request)
        self._turn()

    def oldest(self, worker: Worker) -> float:
        return worker.inbox[0].sent_at if worker.inbox else NEVER

    def take(self, worker: Worker) -> Request:
        connection = worker.inbox.popleft()
        request = self._requests.pop(connection.number)
        if not self._late:
            answer = (worker, connection.number)
            self._clock.at(self._clock.now + self._ack, self._hear, answer)
        return request

    def asleep(self, worker: Worker) -> None:
        pass

    def finished(self, worker: Worker) -> None:
        if self._late:
            # It counts what it has done, and nothing is active: the load is what is un-acked.
            self._crew.dirty[worker.slot] = 0
            self._roster.observe(worker.id, 0, worker.accepted)
            number = next(iter(self._roster.books[worker.id].unacked))
            self.scheduler.acked(number, worker.id)
            self._dispatch()

    def blocked(self, worker: Worker) -> None:
        if not self._late:  # theory knows no silence
            self._still[worker.id] = self._clock.now

    def born(self, worker: Worker) -> None:
        self._by_id[worker.id] = worker
        weight = self._weights[worker.slot] if self._weights else 1
        self._roster.join(worker.id, weight, worker.slot + 1)
        self._dispatch()

    def died(self, worker: Worker) -> None:
        """Its last words are read, and what it never received goes to others."""
        del self._by_id[worker.id]
        unreceived = [connection.number for connection in worker.inbox]
        for number in list(self._roster.books[worker.id].unacked):
            if number not in unreceived and not self._late:
                self.scheduler.acked(number, worker.id)
        worker.inbox.clear()
        for connection in self.scheduler.leave(worker.id, unreceived=unreceived):
            self._requests.pop(connection.number, None)
            self._tally.fail("given up")
        self._hearts.pop(worker.id, None)
        self._still.pop(worker.id, None)
        self._dispatch()

    def _name_of(self, number: int) -> bytes:
        # The slot, so that a new worker has the keys of the one that it replaces.
        return b"%d" % self._by_id[number].slot

    def _hear(self, answer: tuple[Worker, int]) -> None:
        worker, number = answer
        if worker.alive:  # else it was heard when it died
            self.scheduler.acked(number, worker.id)
            self._turn()

    # -- what it does -------------------------------------------------------------------------

    def _turn(self) -> None:
        if self._measures:
            self._glance()
        self._dispatch()

    def _accept(self, request: Request) -> None:
        key = b"%d" % self._random.randrange(self._keys) if self._keys else b""
        self._requests[self.scheduler.accepted(0, 0, key).number] = request

    def _dispatch(self) -> None:
        scheduler, lane, now = self.scheduler, self._lane, self._clock.now
        if lane.overdue:
            while (late := scheduler.due_recall(0)) is not None:
                self._recall(late)
        while True:
            while (connection := scheduler.assign(0, now)) is not None:
                worker = self._by_id[connection.worker]
                worker.inbox.append(connection)
                self._crew.rouse(worker)
            if not self._backlog or not scheduler.accepting(0):
                break
            self._accept(self._backlog.popleft())
        self._note_queue(len(lane.queue) + len(self._backlog), now)
        if self._alarm == NEVER:
            self._set_alarm(self._deadline())
        elif lane.free.due < self._alarm:
            self._set_alarm(lane.free.due)

    def _recall(self, late: Connection) -> None:
        inbox = self._by_id[late.worker].inbox
        while inbox:
            number = inbox.popleft().number
            self.scheduler.recalled(number)
            if number == late.number:
                break

    def _note_queue(self, queued: int, now: float) -> None:
        tally = self._tally
        tally.queue_area += self._queued * (now - self._queued_at)
        self._queued, self._queued_at = queued, now
        if queued > tally.queue_most:
            tally.queue_most = queued

    # -- time ---------------------------------------------------------------------------------

    def _deadline(self) -> float:
        if not self.scheduler.pending():  # nothing is refused here, so nobody cools down
            return NEVER
        due = self.scheduler.deadline() if self._timed else self._lane.free.due
        return due if due == NEVER else min(due, self._clock.now + self._nap)

    def _set_alarm(self, moment: float) -> None:
        self._alarm = moment
        if moment != NEVER:
            self._clock.at(max(moment, self._clock.now), self._ring, moment)

    def _ring(self, moment: float) -> None:
        if moment != self._alarm:
            return  # it was brought forward
        known = len(self._lane.overdue)
        self.scheduler.tick(self._clock.now)
        # Who has answered since the last time may be late again: its next beat counts.
        for index in range(known, len(self._lane.overdue)):
            self._hearts[self._lane.overdue[index].worker] = self._clock.now
        self._dispatch()
        self._set_alarm(self._deadline())

    def look(self) -> None:
        """At hearts and loads, which the supervisor does every ``core.liveness.TICK``."""
        for number, since in list(self._hearts.items()):
            if self._by_id[number].turned > since:
                del self._hearts[number]
                if self._roster.held(number) & Hold.OVERDUE:
                    self._roster.beat(number)
        for number, since in list(self._still.items()):
            if self._by_id[number].turned > since:
                del self._still[number]
                self._roster.release(number, Hold.SILENT)
            elif self._clock.now >= since + SILENCE:
                self._roster.hold(number, Hold.SILENT)
        if self._measures and not self._late:
            self._observe(0, len(self._crew.dirty))
        self._dispatch()
        if self.probe is not None:
            self.probe(self)

    # -- loads --------------------------------------------------------------------------------

    def _glance(self) -> None:
        """At the loads of the next few workers; of all, where they are few."""
        count = len(self._crew.dirty)
        if count <= GLANCES:
            self._observe(0, count)
            return
        start = self._rota
        end = start + GLANCES
        self._observe(start, end)
        if end >= count:
            end -= count
            self._observe(0, end)
        self._rota = end

    def _observe(self, start: int, end: int) -> None:
        # In shared memory, read in vain as a rule: one search tells of sixteen workers.
        dirty = self._crew.dirty
        slot = dirty.find(1, start, end)
        while slot >= 0:
            dirty[slot] = 0
            worker = self._crew.workers[slot]
            if worker.alive:
                self._roster.observe(worker.id, worker.active, worker.accepted)
            slot = dirty.find(1, slot + 1, end)
