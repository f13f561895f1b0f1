"""Node's free queue as a state machine: events in, hand-offs and recalls out.

For every listener there is a *lane*: a queue of accepted connections in accept order, and a policy
that holds the workers that can take one.  The whole algorithm of Node's ``SCHED_RR`` is this::

    accepted            joins the tail of the lane's queue
    assign              while somebody is free and something is queued: the first of both
    acked               the worker took it: its credit comes back, it is free (again)
    refused             the connection goes back; the worker is held, by the reason

A worker may have ``window`` un-acked connections per lane (Node: one).  Where Node is weak, five
rules are added, and ``recall=None``, ``lead=None``, ``window=1`` and an endless ``limit`` is Node
exactly:

* the queue is bounded: a lane whose queue is full, or whose workers all are, is not ``accepting``,
  and the kernel's backlog is the buffer;
* a connection that has waited longer than ``recall`` seconds for its ack is *overdue*: its worker
  is held, and whoever is free, or becomes free first, asks for it back (``due_recall``);
* a worker that refuses is held until it says that there is room, or for a cool-down;
* what a dead worker had not acknowledged is queued again, in accept order;
* a worker that is ahead of others waits a moment for them, so that a burst is spread evenly
  (``lead``).

A worker is *held* for any number of reasons (``Hold``) and free when there is none and it has
credit (``roster``).  Time is passed in, in seconds of a monotonic clock.  ``Connection.handle`` is
the shell's (the master's copy of the file descriptor): it is carried and never looked at.

Source: Node's ``round_robin_handle.js``; the transitions and what real Node prints for each are in
the conformance tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from balancer.core.books import NEVER, Connection, Hold, Refusal
from balancer.core.pacing import LEAD
from balancer.core.roster import Roster
from balancer.core.waiting import put_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from balancer.core.pacing import Lead
    from balancer.core.policy import Policy

__all__ = ["Scheduler"]

REDELIVERIES = 2
"""How often a connection may be handed out again after the death of a worker that had received
it: three workers that die with the same connection in hand are no accident."""


@final
class Scheduler:
    """Every listener's queue, and what is on its way; ``roster`` are the workers.

    The caller reports events, here those of connections and in ``roster`` those of workers, then
    asks every lane for ``due_recall``, then every lane for ``assign``, each until None (a recall
    may bring back another lane's connections).  It reports what a recall brought with ``recalled``
    (nothing, where the worker was faster: then it will ack, or die), and a hand-off that couldn't
    be sent with ``unsent``.
    """

    def __init__(
        self,
        lanes: int,
        policy: Callable[[], Policy],
        *,
        window: int = 1,
        limit: int = 1024,
        recall: float | None = 0.1,
        lead: Lead | None = LEAD,
        exclusive: Collection[int] = (),
    ) -> None:
        self.roster = Roster(
            lanes,
            policy,
            window=window,
            lead=lead,
            limit=limit,
            recall=recall,
            exclusive=exclusive,
        )
        self.lanes = self.roster.lanes
        self.limit = limit
        self._recall = recall
        self._inflight: dict[int, Connection] = {}  # by number, in the order of sending
        self._accepted = 0

    def leave(self, worker: int, *, unreceived: Iterable[int] = ()) -> list[Connection]:
        """A worker is dead: queue what it had not acknowledged, and return what is given up.

        ``unreceived`` are the numbers that were still on their way, as recalled from its socket:
        they cost the connection none of its redeliveries.
        """
        self.roster.hold(worker, Hold.CLOSED)
        for number in unreceived:
            self.recalled(number)
        gone = self.roster.leave(worker)
        dropped = []
        for connection in list(gone.unacked.values()):
            del self._inflight[connection.number]
            connection.redeliveries += 1
            connection.sent_at = NEVER
            connection.overdue = False  # it may stand among the overdue still
            lane = self.lanes[connection.lane]
            if connection.redeliveries > REDELIVERIES:
                lane.dropped += 1
                dropped.append(connection)
            else:
                lane.redelivered += 1
                self._queue_again(connection)
        self.roster.appoint_all()
        return dropped

    # -- lanes come and go --------------------------------------------------------------------

    def waiting(self, lane: int) -> int:
        """How many connections of a lane are queued or in flight."""
        return len(self.lanes[lane].queue) + self._in_flight(lane)

    def remove_lane(self, lane: int) -> list[Connection] | None:
        """A lane that nothing is accepted for any more: what is queued there is given up.

        The lane goes with it, or not yet (None) while something of it is in flight.
        """
        if self._in_flight(lane):
            return None
        given_up = self.empty(lane)
        self.roster.remove_lane(lane)
        return given_up

    def empty(self, lane: int) -> list[Connection]:
        """Give up what is queued in a lane."""
        queue = self.lanes[lane].queue
        given_up = list(queue)
        queue.clear()
        return given_up

    def _in_flight(self, lane: int) -> int:
        return sum(connection.lane == lane for connection in self._inflight.values())

    def bound(self, limit: int, recall: float | None) -> None:
        """Another bound for the queues, and another time for the recall; from now on."""
        self.limit, self._recall = limit, recall
        self.roster.bound(limit, recall)

    # -- connections come and go --------------------------------------------------------------

    def accepting(self, lane: int) -> bool:
        """Whether the shell should accept for a lane, or leave connections to the kernel."""
        here = self.lanes[lane]
        return here.roomy > 0 and len(here.queue) < self.limit

    def accepted(self, lane: int, handle: int, key: bytes = b"") -> Connection:
        """A connection was accepted."""
        self._accepted += 1
        connection = Connection(self._accepted, lane, handle, key)
        here = self.lanes[lane]
        here.accepted += 1
        here.joining.append(connection)
        return connection

    def assign(self, lane: int, now: float) -> Connection | None:
        """The next hand-off of a lane, or None: send ``handle`` to ``worker``."""
        here = self.lanes[lane]
        if here.by_key is not None:
            taken = here.by_key.take(now)
            if taken is None:
                return None
            connection, worker = taken
        else:
            queue = here.joining
            if not queue:
                return None
            picked = here.free.pick(queue[0], len(queue), now)
            if picked is None:
                return None
            connection, worker = queue.popleft(), picked
        connection.worker = worker
        connection.sent_at = now
        self._inflight[connection.number] = connection
        book = self.roster.books[worker]
        book.unacked[connection.number] = connection
        book.credits[lane] -= 1
        if book.credits[lane]:
            self.roster.offer(book, here)
        return connection

    def unsent(self, connection: Connection, now: float) -> None:
        """The hand-off couldn't be sent: back to the queue.

        The worker is held until it acks, or for a moment: what is full may be the user's allowance
        of descriptors in flight, which others fill too.
        """
        self.roster.cool(connection.worker, now, Hold.CHANNEL)
        self._take_back(connection)

    def acked(self, number: int, worker: int) -> Connection | None:
        """A worker took a connection; None if it isn't the worker's (a bug or a forgery)."""
        book = self.roster.books[worker]
        connection = book.unacked.pop(number, None)
        if connection is None:
            return None
        del self._inflight[number]
        connection.overdue = False
        connection.sent_at = NEVER
        self.roster.took(book, self.lanes[connection.lane])
        return connection

    def refused(self, number: int, worker: int, reason: Refusal, now: float) -> Connection | None:
        """A worker didn't take a connection: back to the queue, and the worker is held.

        None if it isn't the worker's (a bug or a forgery).
        """
        connection = self.roster.books[worker].unacked.get(number)
        if connection is None:
            return None
        self.lanes[connection.lane].refused += 1
        if reason is Refusal.FULL:
            self.roster.hold(worker, Hold.FULL)
        elif reason is Refusal.DRAINING:
            self.roster.hold(worker, Hold.CLOSED)
        elif reason is Refusal.SHUT:
            self.roster.shut(worker, connection.lane)
        else:
            self.roster.cool(worker, now, Hold.COOLING)
        self._take_back(connection)
        self.roster.release(worker, Hold.OVERDUE | Hold.CHANNEL)
        return connection

    # -- recall -------------------------------------------------------------------------------

    def due_recall(self, lane: int) -> Connection | None:
        """The connection to recall now: somebody is free and this one has waited too long."""
        here = self.lanes[lane]
        while here.overdue and len(here.free):
            connection = here.overdue[0]
            if not connection.overdue:  # acked, refused or recalled since
                here.overdue.popleft()
            elif 0 < here.first_open < connection.number:
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

    # -- time ---------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When ``tick`` has something to do next, in the clock of ``now``."""
        soonest = min(self.roster.next_cooled(), self.next_turn(), self._next_untied())
        if self._recall is not None:
            for connection in self._inflight.values():
                if not connection.overdue:  # the oldest that isn't known to be late
                    return min(soonest, connection.sent_at + self._recall)
        return soonest

    def next_turn(self) -> float:
        """When somebody who is free, but ahead of others, has waited for them long enough."""
        soonest = NEVER
        for lane in self.lanes.values():
            if lane.free.due < soonest:
                soonest = lane.free.due
        return soonest

    def _next_untied(self) -> float:
        """When somebody has waited long enough for its own worker."""
        soonest = NEVER
        for lane in self.lanes.values():
            if lane.by_key is not None:
                soonest = min(soonest, lane.by_key.waiting.deadline())
        return soonest

    def tick(self, now: float) -> None:
        """Find what has become overdue, and end the waits and the cool-downs that are over."""
        self.roster.end_cool_downs(now)
        for lane in self.lanes.values():
            lane.free.expire(now)
        if self._recall is None:
            return
        for connection in self._inflight.values():
            if connection.sent_at + self._recall > now:  # as ``deadline`` has it, to the last bit
                break
            if not connection.overdue:
                self._mark_overdue(connection)

    # -- the small print ----------------------------------------------------------------------

    def unacked(self, worker: int) -> int:
        """How many hand-offs a worker has not answered yet."""
        return len(self.roster.books[worker].unacked)

    def pending(self) -> int:
        """How many connections are queued or in flight: those that only the master guards."""
        return len(self._inflight) + sum(len(lane.queue) for lane in self.lanes.values())

    def _mark_overdue(self, connection: Connection) -> None:
        connection.overdue = True
        self.lanes[connection.lane].overdue.append(connection)
        self.roster.hold(connection.worker, Hold.OVERDUE)

    def _take_back(self, connection: Connection) -> None:
        book = self.roster.books[connection.worker]
        del self._inflight[connection.number]
        del book.unacked[connection.number]
        self.roster.returned(book, self.lanes[connection.lane])
        self._queue_again(connection)

    def _queue_again(self, connection: Connection) -> None:
        connection.worker = 0
        connection.sent_at = NEVER
        connection.overdue = False
        put_in_order(self.lanes[connection.lane].joining, connection)
