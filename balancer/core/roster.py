"""The workers as the scheduler sees them: who may be given connections, and of which lanes.

A worker is *held* for any number of reasons (``Hold``), and *shut* for single lanes by its app.  It
is free in a lane when it isn't held, has credit there, and the lane isn't another one's: a lane may
have an owner, the only worker that it is for, who is replaced when he can't take from it any more.

Lanes come and go, and their numbers are never used again.  A worker knows the lanes that it was
born with: of one that was added later it gets nothing, and nothing is accepted for a lane before
somebody is ready who knows it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, final

from balancer.core.books import ANYBODY, COOL_DOWN, NEVER, Hold, Lane, WorkerBook
from balancer.core.by_key import LASTING, ByKey
from balancer.core.free import AtOnce
from balancer.core.lead import ByLoads, ByTurns
from balancer.core.policy import LeastConnections, RoundRobin
from balancer.core.policy.sticky import Sticky

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from balancer.core.free import Free
    from balancer.core.pacing import Lead
    from balancer.core.policy import Policy

__all__ = ["Roster"]


@final
class Roster:
    """Every worker's holds and credits, and every lane with those that are free in it."""

    def __init__(
        self,
        lanes: int,
        policy: Callable[[], Policy],
        *,
        window: int,
        lead: Lead | None,
        limit: int,
        recall: float | None,
        exclusive: Collection[int],
    ) -> None:
        self.books: dict[int, WorkerBook] = {}
        self.lanes: dict[int, Lane] = {}
        self.window = window
        """Un-acked connections that a worker may have of a lane; of those that join from now on."""
        self._policy = policy
        self._lead = lead
        self._limit = limit
        self._recall = recall
        self._cooling: dict[int, float] = {}  # by worker: until when
        for index in range(lanes):
            self.add_lane(index, 0 if index in exclusive else ANYBODY)

    def __contains__(self, worker: int) -> bool:
        """Whether a worker has joined and not left."""
        return worker in self.books

    def _make_free(self, policy: Policy, lane: int, lead: Lead | None) -> Free:
        if lead is None:
            return AtOnce(policy)
        if isinstance(policy, LeastConnections):
            return ByLoads(policy, self.books, lead)
        if isinstance(policy, RoundRobin):
            return ByTurns(policy, lane, self.books, lead)
        return AtOnce(policy)  # what is even for another, or whether it should be, isn't known here

    # -- lanes come and go --------------------------------------------------------------------

    def add_lane(self, index: int, owner: int = ANYBODY) -> None:
        """A lane of its own number, which nobody knows yet."""
        made = self._policy()
        if isinstance(made, Sticky):
            able = partial(self._may_be_waited_for, index)
            by_key = ByKey(made, able, recall=self._recall, limit=self._limit)
            self.lanes[index] = Lane(index, by_key, owner, by_key)
        else:
            self.lanes[index] = Lane(index, self._make_free(made, index, self._lead), owner)

    def remove_lane(self, index: int) -> Lane:
        """A lane goes; nothing of it may be in flight, and what is queued is the caller's."""
        for book in self.books.values():
            book.credits.pop(index, None)
            book.turns.pop(index, None)
            book.shut.discard(index)
        return self.lanes.pop(index)

    def bound(self, limit: int, recall: float | None) -> None:
        """Another bound for the queues, and another time for the recall."""
        self._limit, self._recall = limit, recall
        for lane in self.lanes.values():
            if lane.by_key is not None:
                lane.by_key.bound(limit, recall)

    def _known_by(self, book: WorkerBook) -> list[Lane]:
        return [self.lanes[index] for index in book.credits]

    # -- workers come and go ------------------------------------------------------------------

    def join(
        self, worker: int, weight: int = 1, slot: int = 0, lanes: Iterable[int] | None = None
    ) -> None:
        """A worker is ready: it is free in every lane that it knows, at the tail.

        Its slot is its own number where none is given, and it knows all ``lanes`` that there are.
        """
        known = [each for each in self.lanes if lanes is None or each in lanes]
        self.books[worker] = WorkerBook(
            worker,
            slot or worker,
            weight,
            dict.fromkeys(known, self.window),
            dict.fromkeys(known, 0),
        )
        self.release(worker, Hold.CLOSED)
        self.appoint_all()

    def name_of(self, worker: int) -> bytes:
        """What policies that go by names call a worker: its slot, whose next one has its keys."""
        return b"slot %d" % self.books[worker].slot

    def leave(self, worker: int) -> WorkerBook:
        """A worker is dead, and was held as closed; what it hadn't acknowledged is the caller's."""
        self._cooling.pop(worker, None)
        for lane in self._known_by(self.books[worker]):
            lane.free.forget(worker)
        return self.books.pop(worker)

    # -- who gets nothing, and why ------------------------------------------------------------

    def held(self, worker: int) -> Hold:
        """Why a worker gets nothing now."""
        return self.books[worker].holds

    def hold(self, worker: int, reason: Hold) -> None:
        """Give a worker nothing for a reason, until it is released from it."""
        book = self.books[worker]
        before, book.holds = book.holds, book.holds | reason
        book.held = True
        if not before:
            for lane in self._known_by(book):
                lane.free.withdraw(worker)
        if reason in LASTING and not before & LASTING:
            for lane in self._known_by(book):
                lane.free.loosen(worker)
        self._count_room(book, before)
        if reason is Hold.CLOSED:
            for lane in self._known_by(book):
                if lane.by_key is not None:
                    lane.by_key.close(worker)
            self.appoint_all()

    def release(self, worker: int, reason: Hold) -> None:
        """A reason to give a worker nothing has gone."""
        book = self.books[worker]
        before, book.holds = book.holds, book.holds & ~reason
        book.held = bool(book.holds)
        if before and not book.held:
            for lane in self._known_by(book):
                lane.free.enter(book)
                self.offer(book, lane)
        self._count_room(book, before)

    def cool(self, worker: int, now: float, reason: Hold) -> None:
        """Give a worker nothing for a moment, longer each time until it takes something."""
        book = self.books[worker]
        self._cooling[worker] = now + book.cool_down
        book.cool_down = min(2 * book.cool_down, COOL_DOWN[1])
        self.hold(worker, reason)

    def next_cooled(self) -> float:
        """When the next cool-down is over."""
        return min(self._cooling.values(), default=NEVER)

    def end_cool_downs(self, now: float) -> None:
        """Release those whose cool-down is over."""
        over = [worker for worker, until in self._cooling.items() if until <= now]
        for worker in over:
            del self._cooling[worker]
            self.release(worker, Hold.COOLING | Hold.CHANNEL)

    def room(self, worker: int) -> None:
        """A worker that had refused as full has room again."""
        self.release(worker, Hold.FULL)

    def beat(self, worker: int) -> None:
        """A worker's heart beats: whatever it was overdue with, it is running again."""
        self.release(worker, Hold.OVERDUE | Hold.SILENT)

    # -- loads and credits --------------------------------------------------------------------

    def observe(self, worker: int, active: int, accepted: int) -> None:
        """A worker's own counts, for policies that use loads.

        ``active`` are the connections that it serves, ``accepted`` those that it has ever taken,
        read before ``active``: what it takes in between is then counted twice for a moment, and
        not missed.
        """
        book = self.books[worker]
        if book.active == active and book.accepted == accepted:
            return
        before = book.load
        book.active, book.accepted = active, accepted
        if book.load != before and not book.held:
            for lane in self._known_by(book):
                self.offer(book, lane)

    def took(self, book: WorkerBook, lane: Lane) -> None:
        """A worker has taken a connection."""
        book.acks += 1
        book.cool_down = COOL_DOWN[0]
        book.credits[lane.index] += 1
        if not book.held:
            self.offer(book, lane)
        elif book.holds & (Hold.OVERDUE | Hold.CHANNEL):
            self.release(book.id, Hold.OVERDUE | Hold.CHANNEL)

    def returned(self, book: WorkerBook, lane: Lane) -> None:
        """A worker didn't take what it was sent."""
        book.credits[lane.index] += 1
        lane.free.returned(book)
        if not book.held:
            self.offer(book, lane)

    def offer(self, book: WorkerBook, lane: Lane) -> None:
        """A worker that isn't held may be free in a lane."""
        index, owner = lane.index, lane.owner
        if book.credits[index] and index not in book.shut and owner in (ANYBODY, book.id):
            lane.free.offer(book)

    # -- lanes that aren't for everybody ------------------------------------------------------

    def knows(self, worker: int, lane: int) -> bool:
        """Whether a worker was born with a lane, which is still there."""
        return lane in self.books[worker].credits

    def shut(self, worker: int, lane: int) -> None:
        """A worker takes nothing more from a lane, whatever it takes from others."""
        self.books[worker].shut.add(lane)
        self.lanes[lane].free.withdraw(worker)
        self.lanes[lane].free.loosen(worker)
        self.appoint_all()

    def reopen(self, worker: int, lane: int) -> None:
        """A worker takes connections from a lane again: it joins the tail."""
        book = self.books[worker]
        book.shut.discard(lane)
        self.appoint_all()
        if not book.held:
            self.lanes[lane].free.enter(book)
            self.offer(book, self.lanes[lane])

    def appoint_all(self) -> None:
        """Give lanes that are for one worker, and have none that can, to who came first."""
        for lane in self.lanes.values():
            if lane.owner != ANYBODY and not self._can_own(lane.owner, lane):
                able = (each for each in self.books if self._can_own(each, lane))
                lane.owner = next(able, 0)
                if lane.owner and not self.books[lane.owner].held:
                    self.offer(self.books[lane.owner], lane)

    def _can_own(self, worker: int, lane: Lane) -> bool:
        book = self.books.get(worker)
        return (
            book is not None
            and not book.holds & Hold.CLOSED
            and lane.index in book.credits
            and lane.index not in book.shut
        )

    def _may_be_waited_for(self, lane: int, worker: int) -> bool:
        book = self.books[worker]
        return (
            not (book.held and book.holds & LASTING)
            and lane in book.credits
            and lane not in book.shut
            and self.lanes[lane].owner in (ANYBODY, worker)
        )

    def _count_room(self, book: WorkerBook, before: Hold) -> None:
        no_room = Hold.FULL | Hold.CLOSED
        change = bool(before & no_room) - bool(book.holds & no_room)
        if change:
            for lane in self._known_by(book):
                lane.roomy += change
