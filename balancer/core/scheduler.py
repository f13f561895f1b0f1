"""Node's free queue as a state machine: events in, hand-offs and recalls out.

For every listener there is a *lane*: a queue of accepted connections in accept order, and a policy
that holds the workers that can take one.  The whole algorithm of Node's ``SCHED_RR`` is this::

    accepted            joins the tail of the lane's queue
    assign              while somebody is free and something is queued: the first of both
    acked               the worker took it: its credit comes back, it is free (again)
    refused             the connection goes back; the worker is held, by the reason

A worker may have ``window`` un-acked connections per lane (Node: one).  Where Node is weak, four
rules are added, and ``recall=None``, ``window=1`` and an endless ``limit`` is Node exactly:

* the queue is bounded: a lane whose queue is full, or whose workers all are, is not ``accepting``,
  and the kernel's backlog is the buffer;
* a connection that has waited longer than ``recall`` seconds for its ack is *overdue*: its worker
  is held, and whoever is free, or becomes free first, asks for it back (``due_recall``);
* a worker that refuses is held until it says that there is room, or for a cool-down;
* what a dead worker had not acknowledged is queued again, in accept order.

A worker is *held* for any number of reasons (``Hold``) and free when there is none and it has
credit.  Time is passed in, in seconds of a monotonic clock.  ``Connection.handle`` is the shell's
(the master's copy of the file descriptor): it is carried and never looked at.

Source: Node's ``round_robin_handle.js``; the transitions and what real Node prints for each are in
the conformance tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from balancer.core.books import (
    ANYBODY,
    COOL_DOWN,
    NEVER,
    Connection,
    Hold,
    Lane,
    Refusal,
    WorkerBook,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from balancer.core.policy import Policy

__all__ = ["Scheduler"]

REDELIVERIES = 2
"""How often a connection may be handed out again after the death of a worker that had received
it: three workers that die with the same connection in hand are no accident."""


@final
class Scheduler:
    """Every listener's queue and every worker's credit.

    The caller reports events, then asks every lane for ``due_recall``, then every lane for
    ``assign``, each until None (a recall may bring back another lane's connections).  It reports
    what a recall brought with ``recalled`` (nothing, where the worker was faster: then it will ack,
    or die), and a hand-off that couldn't be sent with ``unsent``.
    """

    def __init__(
        self,
        lanes: int,
        policy: Callable[[], Policy],
        *,
        window: int = 1,
        limit: int = 1024,
        recall: float | None = 0.1,
        exclusive: Collection[int] = (),
    ) -> None:
        self.lanes = [
            Lane(index, policy(), 0 if index in exclusive else ANYBODY) for index in range(lanes)
        ]
        self.limit = limit
        self._window = window
        self._recall = recall
        self._workers: dict[int, WorkerBook] = {}
        self._inflight: dict[int, Connection] = {}  # by number, in the order of sending
        self._accepted = 0
        self._roomy = 0  # workers that are neither full nor closed

    def __contains__(self, worker: int) -> bool:
        """Whether a worker has joined and not left."""
        return worker in self._workers

    # -- workers come and go ------------------------------------------------------------------

    def join(self, worker: int, weight: int = 1) -> None:
        """A worker is ready: it is free in every lane, at the tail."""
        fresh = [self._window] * len(self.lanes)
        self._workers[worker] = WorkerBook(worker, weight, fresh)
        self.release(worker, Hold.CLOSED)
        self._appoint_all()

    def leave(self, worker: int, *, unreceived: Iterable[int] = ()) -> list[Connection]:
        """A worker is dead: queue what it had not acknowledged, and return what is given up.

        ``unreceived`` are the numbers that were still on their way, as recalled from its socket:
        they cost the connection none of its redeliveries.
        """
        self.hold(worker, Hold.CLOSED)
        for number in unreceived:
            self.recalled(number)
        gone = self._workers.pop(worker)
        for lane in self.lanes:
            lane.free.forget(worker)
        dropped = []
        for connection in list(gone.unacked.values()):
            del self._inflight[connection.number]
            connection.redeliveries += 1
            lane = self.lanes[connection.lane]
            if connection.redeliveries > REDELIVERIES:
                lane.dropped += 1
                dropped.append(connection)
            else:
                lane.redelivered += 1
                self._queue_again(connection)
        self._appoint_all()
        return dropped

    def hold(self, worker: int, reason: Hold) -> None:
        """Give a worker nothing for a reason, until it is released from it."""
        state = self._workers[worker]
        before, state.holds = state.holds, state.holds | reason
        state.held = True
        if not before:
            for lane in self.lanes:
                lane.free.withdraw(worker)
        self._count_room(before, state.holds)
        if reason is Hold.CLOSED:
            self._appoint_all()

    def release(self, worker: int, reason: Hold) -> None:
        """A reason to give a worker nothing has gone."""
        state = self._workers[worker]
        before, state.holds = state.holds, state.holds & ~reason
        state.held = bool(state.holds)
        if before and not state.held:
            for lane in self.lanes:
                self._offer(state, lane)
        self._count_room(before, state.holds)

    def observe(self, worker: int, active: int) -> None:
        """A worker's own count of the connections that it serves: for policies that use loads."""
        state = self._workers[worker]
        if state.active != active:
            state.active = active
            if not state.held:
                for lane in self.lanes:
                    self._offer(state, lane)

    def shut(self, worker: int, lane: int) -> None:
        """A worker takes nothing more from a lane, whatever it takes from others."""
        self._workers[worker].shut.add(lane)
        self.lanes[lane].free.withdraw(worker)
        self._appoint_all()

    def reopen(self, worker: int, lane: int) -> None:
        """A worker takes connections from a lane again: it joins the tail."""
        state = self._workers[worker]
        state.shut.discard(lane)
        self._appoint_all()
        if not state.held:
            self._offer(state, self.lanes[lane])

    # -- connections come and go --------------------------------------------------------------

    def accepting(self, lane: int) -> bool:
        """Whether the shell should accept for a lane, or leave connections to the kernel."""
        return self._roomy > 0 and len(self.lanes[lane].queue) < self.limit

    def accepted(self, lane: int, handle: int, key: bytes = b"") -> Connection:
        """A connection was accepted."""
        self._accepted += 1
        connection = Connection(self._accepted, lane, handle, key)
        here = self.lanes[lane]
        here.accepted += 1
        here.queue.append(connection)
        return connection

    def assign(self, lane: int, now: float) -> Connection | None:
        """The next hand-off of a lane, or None: send ``handle`` to ``worker``."""
        here = self.lanes[lane]
        if not here.queue:
            return None
        worker = here.free.pick(here.queue[0].key)
        if worker is None:
            return None
        connection = here.queue.popleft()
        connection.worker = worker
        connection.sent_at = now
        state = self._workers[worker]
        state.unacked[connection.number] = connection
        self._inflight[connection.number] = connection
        state.credits[lane] -= 1
        if state.credits[lane]:
            self._offer(state, here)
        return connection

    def unsent(self, connection: Connection, now: float) -> None:
        """The hand-off couldn't be sent: back to the queue.

        The worker is held until it acks, or for a moment: what is full may be the user's allowance
        of descriptors in flight, which others fill too.
        """
        self._cool(connection.worker, now, Hold.CHANNEL)
        self._take_back(connection)

    def acked(self, number: int, worker: int) -> Connection | None:
        """A worker took a connection; None if it isn't the worker's (a bug or a forgery)."""
        state = self._workers[worker]
        connection = state.unacked.pop(number, None)
        if connection is None:
            return None
        del self._inflight[number]
        connection.overdue = False
        state.credits[connection.lane] += 1
        state.cool_down = COOL_DOWN[0]
        if not state.held:
            self._offer(state, self.lanes[connection.lane])
        elif state.holds & (Hold.OVERDUE | Hold.CHANNEL):
            self.release(state.id, Hold.OVERDUE | Hold.CHANNEL)
        return connection

    def refused(self, number: int, worker: int, reason: Refusal, now: float) -> Connection | None:
        """A worker didn't take a connection: back to the queue, and the worker is held.

        None if it isn't the worker's (a bug or a forgery).
        """
        connection = self._workers[worker].unacked.get(number)
        if connection is None:
            return None
        self.lanes[connection.lane].refused += 1
        if reason is Refusal.FULL:
            self.hold(worker, Hold.FULL)
        elif reason is Refusal.DRAINING:
            self.hold(worker, Hold.CLOSED)
        elif reason is Refusal.SHUT:
            self.shut(worker, connection.lane)
        else:
            self._cool(worker, now, Hold.COOLING)
        self._take_back(connection)
        self.release(worker, Hold.OVERDUE | Hold.CHANNEL)
        return connection

    def room(self, worker: int) -> None:
        """A worker that had refused as full has room again."""
        self.release(worker, Hold.FULL)

    # -- recall -------------------------------------------------------------------------------

    def due_recall(self, lane: int) -> Connection | None:
        """The connection to recall now: somebody is free and this one has waited too long."""
        here = self.lanes[lane]
        while here.overdue and len(here.free):
            connection = here.overdue[0]
            if not connection.overdue:  # acked, refused or recalled since
                here.overdue.popleft()
            elif here.queue and here.queue[0].number < connection.number:
                return None
            else:
                return here.overdue.popleft()
        return None

    def recalled(self, number: int) -> Connection | None:
        """A connection came back from a worker's socket, unreceived."""
        connection = self._inflight.get(number)
        if connection is not None:
            self.lanes[connection.lane].recalled += 1
            self._take_back(connection)
        return connection

    def beat(self, worker: int) -> None:
        """A worker's heart beats: whatever it was overdue with, it is running again."""
        self.release(worker, Hold.OVERDUE | Hold.SILENT)

    # -- time ---------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When ``tick`` has something to do next, in the clock of ``now``."""
        soonest = min((worker.cool_until for worker in self._workers.values()), default=NEVER)
        if self._recall is not None:
            for connection in self._inflight.values():
                if not connection.overdue:  # the oldest that isn't known to be late
                    return min(soonest, connection.sent_at + self._recall)
        return soonest

    def tick(self, now: float) -> None:
        """Find what has become overdue, and end the cool-downs that are over."""
        for worker in self._workers.values():
            if worker.cool_until <= now:
                worker.cool_until = NEVER
                self.release(worker.id, Hold.COOLING | Hold.CHANNEL)
        if self._recall is None:
            return
        late = now - self._recall
        for connection in self._inflight.values():
            if connection.sent_at > late:
                break
            if not connection.overdue:
                self._mark_overdue(connection)

    # -- the small print ----------------------------------------------------------------------

    def unacked(self, worker: int) -> int:
        """How many hand-offs a worker has not answered yet."""
        return len(self._workers[worker].unacked)

    def held(self, worker: int) -> Hold:
        """Why a worker gets nothing now."""
        return self._workers[worker].holds

    def pending(self) -> int:
        """How many connections are queued or in flight: those that only the master guards."""
        return len(self._inflight) + sum(len(lane.queue) for lane in self.lanes)

    def _offer(self, worker: WorkerBook, lane: Lane) -> None:
        index, owner = lane.index, lane.owner
        if worker.credits[index] and index not in worker.shut and owner in (ANYBODY, worker.id):
            lane.free.offer(worker.id, worker.load, worker.weight)

    def _appoint_all(self) -> None:
        """Give lanes that are for one worker, and have none that can, to who came first."""
        for lane in self.lanes:
            if lane.owner != ANYBODY and not self._can_own(lane.owner, lane):
                able = (each for each in self._workers if self._can_own(each, lane))
                lane.owner = next(able, 0)
                if lane.owner and not self._workers[lane.owner].held:
                    self._offer(self._workers[lane.owner], lane)

    def _can_own(self, worker: int, lane: Lane) -> bool:
        state = self._workers.get(worker)
        return state is not None and not state.holds & Hold.CLOSED and lane.index not in state.shut

    def _mark_overdue(self, connection: Connection) -> None:
        connection.overdue = True
        self.lanes[connection.lane].overdue.append(connection)
        self.hold(connection.worker, Hold.OVERDUE)

    def _take_back(self, connection: Connection) -> None:
        state = self._workers[connection.worker]
        del self._inflight[connection.number]
        del state.unacked[connection.number]
        state.credits[connection.lane] += 1
        if not state.held:
            self._offer(state, self.lanes[connection.lane])
        self._queue_again(connection)

    def _queue_again(self, connection: Connection) -> None:
        connection.worker = 0
        connection.sent_at = NEVER
        connection.overdue = False
        queue = self.lanes[connection.lane].queue
        older = []
        while queue and queue[0].number < connection.number:
            older.append(queue.popleft())
        queue.appendleft(connection)
        queue.extendleft(reversed(older))

    def _cool(self, worker: int, now: float, reason: Hold) -> None:
        state = self._workers[worker]
        state.cool_until = now + state.cool_down
        state.cool_down = min(2 * state.cool_down, COOL_DOWN[1])
        self.hold(worker, reason)

    def _count_room(self, before: Hold, after: Hold) -> None:
        no_room = Hold.FULL | Hold.CLOSED
        self._roomy += bool(before & no_room) - bool(after & no_room)
