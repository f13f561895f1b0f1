"""Connections on their way: accept, decide, hand off, hear the answer, let go.

Everything a connection needs of the master happens in ``_turn``, without a task, a log line or an
await of its own: one trio task waits for a nested epoll that holds all listeners and all pairs, and
turns until that is empty.  (Measured, CPU per connection: one task per pair 51-62 µs, this 48, a
bare epoll loop 35.)  What is decided is decided by ``core.scheduler``; here it is only done.

File descriptors: the master's copy of a connection is owned here from accept to ack.  Listeners and
pairs are their owners'; they must be taken out (``unwatch``, ``remove``) before they are closed.
"""

from __future__ import annotations

import logging
import os
import random
import select
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, final

import trio

from balancer.core.books import NEVER, Hold, Refusal
from balancer.core.pacing import LEAD
from balancer.core.scheduler import Scheduler
from balancer.master.acceptor import BATCH, Acceptor
from balancer.master.alarm import Alarm
from balancer.master.doors import Doors, Seldom
from balancer.master.lanes import Lanes
from balancer.master.overdue import Overdue
from balancer.master.pulse import Pulse
from balancer.net.handoff import AnswerKind, WindowFullError
from balancer.net.slots import Word

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from balancer.core.books import Connection, Lane
    from balancer.core.pacing import Lead
    from balancer.core.policy import Maker
    from balancer.net.handoff import HandoffSender
    from balancer.net.listener import Listener

__all__ = ["Dispatcher"]

logger = logging.getLogger("balancer")

EVENTS = 64
"""Events heard in one turn."""
SHIFT = 0.005
"""Seconds of turning before the other tasks of the master get their turn, however busy it is."""
LINGER = 0.005
"""Seconds to wait for more right after there was something, before the wait by way of trio: under
load the next answer is microseconds away, and a pass through trio's loop costs about 40 µs.  Longer
than the kernel's tick (4 ms at 250 Hz): a timer that is due before the tick has to be programmed
into the hardware, at every wait (measured on a virtual machine: 13 µs per connection at 1 ms)."""
LONGEST_NAP = 0.1
"""Seconds for which the clock sleeps at most while anything is under way."""
GLANCES = 16
"""Workers whose load is read in one turn: with 1,000 of them, reading all would be the turn."""

REFUSALS = {
    AnswerKind.FULL: Refusal.FULL,
    AnswerKind.NO_FDS: Refusal.NO_FDS,
    AnswerKind.DRAINING: Refusal.DRAINING,
    AnswerKind.SHUT: Refusal.SHUT,
}
ACK = int(AnswerKind.ACK)
ROOM = int(AnswerKind.ROOM)
CLOSED = int(AnswerKind.CLOSED)
OPENED = int(AnswerKind.OPENED)
ACTIVE = int(Word.ACTIVE)
ACCEPTED = int(Word.ACCEPTED)


@final
@dataclass(slots=True, eq=False)
class _Link:
    """A worker as far as connections go."""

    worker: int
    sender: HandoffSender
    words: memoryview  # its row of the slots


@final
class Dispatcher:
    """The accept-to-ack path of all lanes; ``run`` must be running for anything to move."""

    def __init__(
        self,
        lanes: int,
        *,
        policy: Maker,
        window: int,
        queue: int,
        recall: float | None,
        lead: Lead | None = LEAD,
        exclusive: Collection[int] = (),
    ) -> None:
        self._links: dict[int, _Link] = {}  # by fd of the pair
        self._by_worker: dict[int, _Link] = {}
        self._scheduler = Scheduler(
            lanes,
            partial(policy, random.random, self._name_of),
            window=window,
            limit=queue,
            recall=recall,
            lead=lead,
            exclusive=exclusive,
        )
        self.on_reopened: Callable[[int, int], None] = lambda _worker, _lane: None
        """Called with a worker and the lane that it takes connections from again."""
        self._roster = self._scheduler.roster
        self.lanes = Lanes(self._scheduler)
        free = self._scheduler.lanes[0].free
        self._measures = free.uses_load
        self._acceptor = Acceptor(self._scheduler, keyed=free.uses_key)
        self._epoll = select.epoll()
        self.pulse = Pulse(self._epoll)
        """By which ``run`` can be asked whether it moves."""
        self._doors = Doors(self._epoll, self._scheduler.lanes, self._scheduler.accepting)
        self._rota: deque[_Link] = deque()  # whose load is looked at next
        self._overdue = Overdue(self._roster)
        self._alarm = Alarm()
        self._next_turn = NEVER  # when who is ahead has waited long enough
        self._nap = _longest_nap(recall)
        self._seldom = Seldom()

    # -- what the supervisor says -------------------------------------------------------------

    def watch(self, listener: Listener) -> None:
        """Accept from a listener whenever its lane is accepting; idempotent."""
        self._doors.add(listener)

    def unwatch(self, listener: Listener) -> None:
        """Accept from it no more; unknown listeners are ignored."""
        self._doors.remove(listener)

    def finish(self, listener: Listener) -> None:
        """Accept everything that waits on a listener, whatever the queue's bound, and close it."""
        self.unwatch(listener)
        self._acceptor.finish(listener)
        self._dispatch()

    def bound(self, queue: int, recall: float | None, window: int) -> None:
        """Other bounds: of queue and recall from now on, of the window for workers to come."""
        self._scheduler.bound(queue, recall)
        self._roster.window = window
        self._nap = _longest_nap(recall)
        self._alarm.bring_forward(time.monotonic())
        self._dispatch()

    def add(
        self,
        worker: int,
        sender: HandoffSender,
        words: memoryview,
        slot: int = 0,
        weight: int = 1,
        lanes: Collection[int] | None = None,
    ) -> None:
        """A worker is ready for connections of the lanes that it knows, or of all.

        ``weight`` is its share, where the policy has any.
        """
        link = _Link(worker, sender, words)
        self._links[sender.fileno()] = link
        self._by_worker[worker] = link
        self._rota.append(link)
        self._epoll.register(sender.fileno(), select.EPOLLIN)
        self._roster.join(worker, weight, slot, lanes)
        self._dispatch()

    def close(self, worker: int) -> None:
        """Give a worker nothing more, and take back what it hasn't received."""
        if worker in self._roster:
            self._roster.hold(worker, Hold.CLOSED)
            for number in self._by_worker[worker].sender.recall_all():
                self._scheduler.recalled(number)
            self._dispatch()

    def reopen(self, worker: int) -> None:
        """A worker that was closed, and lives, takes connections again."""
        if worker in self._roster:
            self._roster.release(worker, Hold.CLOSED | Hold.SILENT)
            self._roster.appoint_all()
            self._dispatch()

    def hold(self, worker: int) -> None:
        """A worker's heart is silent: nothing new until it beats."""
        if worker in self._roster:
            self._roster.hold(worker, Hold.SILENT)

    def beat(self, worker: int) -> None:
        """A silent worker's heart beats again."""
        if worker in self._roster:
            self._roster.release(worker, Hold.SILENT)
            self._dispatch()

    def remove(self, worker: int) -> int:
        """A worker is dead: hear its last words, queue the rest; how many others now get."""
        link = self._by_worker.pop(worker, None)
        if link is None:
            return 0
        while self._hear(link):
            pass
        unreceived = list(link.sender.recall_all())
        count = self._scheduler.unacked(worker)
        dropped = self._scheduler.leave(worker, unreceived=unreceived)
        for connection in dropped:
            os.close(connection.handle)
        if dropped:
            logger.error(
                "gave up %d connection(s) that three workers in a row died with", len(dropped)
            )
        self._overdue.forget(worker)
        self._rota.remove(link)
        del self._links[link.sender.fileno()]
        self._epoll.unregister(link.sender.fileno())
        self._dispatch()
        return count - len(dropped)

    def look(self) -> None:
        """Look at the hearts of the overdue, and at the loads: called at every tick."""
        self._overdue.look()
        if self._measures:
            self._observe(len(self._rota))
        self.lanes.look()
        self._dispatch()

    def pending(self) -> int:
        """How many connections are queued or in flight."""
        return self._scheduler.pending()

    def lane(self, index: int) -> Lane:
        """A lane's queue and counters, to read."""
        return self._scheduler.lanes[index]

    def abandon(self) -> int:
        """Close what nobody took; how many that were.  The last thing before the end."""
        return self.lanes.abandon()

    def shut_down(self) -> None:
        """Let go of what the kernel keeps for it; nothing can be done with it afterwards."""
        self.pulse.close()
        self._epoll.close()

    # -- the loop -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Move connections until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_clock)
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                until = time.monotonic() + SHIFT
                patience = 0.0
                while self._turn(patience) and (now := time.monotonic()) < until:
                    patience = LINGER
                    if self._next_turn != NEVER:
                        patience = max(0.0, min(patience, self._next_turn - now))
                self._doors.wake()

    async def _run_clock(self) -> None:
        """Find what is due when it becomes so."""
        while True:
            await self._alarm.wait(self._deadline())
            self._tick(time.monotonic())

    def _deadline(self) -> float:
        due = min(self._scheduler.deadline(), self._doors.paused_until)
        # What is sent meanwhile may be due sooner than what is waited for (a cool-down takes up
        # to 5 s), but never sooner than this.
        return due if due == NEVER else min(due, time.monotonic() + self._nap)

    def _tick(self, now: float) -> None:
        self._doors.end_pause(now)
        self._note_overdue()
        self._scheduler.tick(now)
        self._note_overdue()
        self._dispatch()

    def _turn(self, patience: float) -> bool:
        """Everything that is ready now, or within ``patience``; False when that was nothing."""
        events = self._epoll.poll(patience, EVENTS)
        links = self._links
        for fd, _ in events:
            link = links.get(fd)
            if link is not None:
                self._hear(link)
            else:
                self._accept(fd)
        if events:
            if self._measures:
                self._observe(GLANCES)
            self._dispatch()
        return bool(events)

    def _accept(self, fd: int) -> None:
        door = self._doors.get(fd)
        if door is None:
            self.pulse.hear(fd)
            return
        lane = self._scheduler.lanes[door.listener.lane]
        # As many as can go out at once; the epoll is level-triggered and tells of the rest.  When
        # that is none, everything, and then the listener rests: or each new client would wake the
        # master once more than its connection does.
        free = len(lane.free) if lane.free.due == NEVER else 0
        room = self._scheduler.limit - len(lane.queue)
        _, exhausted = self._acceptor.accept(door.listener, min(room, free or BATCH))
        door.resting = not free
        if exhausted is not None:
            self._doors.pause(exhausted)

    def _hear(self, link: _Link) -> bool:
        """One answer, or False: the epoll is level-triggered, so the next one wakes us again."""
        answer = link.sender.answer()
        if answer is None:
            return False
        kind, number = answer
        if kind == ACK:
            connection = self._scheduler.acked(number, link.worker)
            if connection is not None:
                os.close(connection.handle)
        elif kind == ROOM:
            self._roster.room(link.worker)
        elif kind in {CLOSED, OPENED}:
            self._hear_lane(link, number, opened=kind == OPENED)
        else:
            self._hear_refusal(link, number, REFUSALS[AnswerKind(kind)])
        return True

    def _hear_lane(self, link: _Link, lane: int, *, opened: bool) -> None:
        if not self._roster.knows(link.worker, lane):
            return  # the lane has gone, or an app wrote to a descriptor that isn't its own
        if opened:
            self._roster.reopen(link.worker, lane)
            self.on_reopened(link.worker, lane)
        else:
            self._roster.shut(link.worker, lane)

    def _hear_refusal(self, link: _Link, number: int, refusal: Refusal) -> None:
        known = self._scheduler.refused(number, link.worker, refusal, time.monotonic())
        if known and refusal is Refusal.NO_FDS and self._seldom.passes(link.worker):
            logger.warning(
                "worker %d: no file descriptors left; its connections go to others", link.worker
            )

    def _observe(self, most: int) -> None:
        """Read the loads of the next few workers; of all, where they are few."""
        rota = self._rota
        for _ in range(min(most, len(rota))):
            link = rota[0]
            rota.rotate(-1)
            words = link.words
            accepted = words[ACCEPTED]  # before the other: see observe()
            self._roster.observe(link.worker, words[ACTIVE], accepted)

    # -- what is decided ----------------------------------------------------------------------

    def _name_of(self, worker: int) -> bytes:
        """What a hash knows a worker as: its successor in the slot gets the same clients."""
        return self._roster.name_of(worker)

    def _dispatch(self) -> None:
        """Do everything that the scheduler has decided by now."""
        scheduler = self._scheduler
        now = time.monotonic()
        for lane in scheduler.lanes.values():
            if lane.overdue:
                while (late := scheduler.due_recall(lane.index)) is not None:
                    self._recall(late)
        next_turn = NEVER
        for lane in scheduler.lanes.values():
            while (connection := scheduler.assign(lane.index, now)) is not None:
                self._send(connection, now)
            if lane.free.due < next_turn:
                next_turn = lane.free.due
        self._next_turn = next_turn
        self._doors.adjust()
        if self._alarm.at == NEVER:
            self._alarm.bring_forward(self._deadline())
        elif next_turn != NEVER:
            self._alarm.bring_forward(next_turn)
        self.lanes.moved()

    def _send(self, connection: Connection, now: float) -> None:
        sender = self._by_worker[connection.worker].sender
        try:
            sender.send(connection.number, connection.lane, connection.handle)
        except WindowFullError:
            self._scheduler.unsent(connection, now)

    def _recall(self, late: Connection) -> None:
        """Recall until this one is back: what lies before it in the socket comes too."""
        for number in self._by_worker[late.worker].sender.recall_all():
            self._scheduler.recalled(number)
            if number == late.number:
                break

    def _note_overdue(self) -> None:
        self._overdue.note((worker, link.words) for worker, link in self._by_worker.items())


def _longest_nap(recall: float | None) -> float:
    return LONGEST_NAP if recall is None else min(recall, LONGEST_NAP)
