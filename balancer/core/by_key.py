"""Connections that wait for *their* worker, so that the same client meets the same worker again.

In a plain lane any worker may take the next connection.  Here the policy (``Sticky``) says whose a
key is, and a single queue won't do: while its head waits for a worker that is busy, everybody
behind it would wait too.  So a connection that has a worker is *tied* to it, in a queue of that
worker's own, and what is tied to one worker is never in the way of what is tied to another.  Those
that aren't tied are *open*: whoever is free takes the first of them, and of several who are, the
one that its key prefers.

Who is tied, to whom, and for how long:

* A connection is tied to the first worker in its key's order that may be waited for and whose queue
  has room.  Who is held for a reason that may last (``LASTING``), or shut to the lane, is not
  waited for.  When there is nobody, it is open; and so is a connection without a key.
* When a worker is held for such a reason, or leaves, what is tied to it is tied anew, each to the
  next in its own order: so the keys of one are spread over all others.  When it is back, the next
  connections with its keys are tied to it again; those that had to move stay where they are.
* A connection that is still tied ``recall`` seconds after its accept is open from then on.  So
  nobody waits for a worker that is blocked, or just slow, longer than a connection that was sent to
  it would.  What comes back (refused, recalled, or its worker died) is tied anew within that time,
  and open after it.  Without ``recall`` there is no such time.
* Every queue is in accept order, and a worker takes the older of the first of its own and the first
  of the open.

The room (``room_for``) is generous, because a connection that finds its worker's queue full meets
another worker, and in the tenth of a second until a blocked worker is found out hundreds may come.
But all workers except one may be blocked, and the others still find the lane accepting.  That isn't
so where there are more workers than a ``FEW``th of the limit, each with ``FEW`` places: if nearly
all of them are blocked at once, the lane may be full until they are found out.

Cost: ``prefer`` for every accept, O(log n) for the rest.  What is tied waits beside workers that
are free: the price of meeting the same one.

Source: HAProxy's ``maxqueue``, by which a request that finds the queue of its server full goes to
another one, although that breaks persistence.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, final

from balancer.core.books import NEVER, Hold
from balancer.core.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.core.books import Connection, WorkerBook
    from balancer.core.policy.sticky import Sticky

__all__ = ["LASTING", "ByKey", "room_for"]

LASTING = Hold.FULL | Hold.COOLING | Hold.OVERDUE | Hold.SILENT | Hold.CLOSED
"""For whom nobody waits.  CHANNEL isn't among them: it ends with the worker's next ack."""

FEW = 16
"""Places in a worker's queue that are enough where there are many workers."""


def room_for(limit: int, workers: int) -> int:
    """How many connections may be tied to each of the workers, in a lane with this limit."""
    return max(1, limit // (workers + 1), min(FEW, limit // 4))


@final
class ByKey:
    """The workers that are free, as ``Free`` has it, and what waits for each of all workers.

    ``able`` says whether a worker may be waited for, for now.
    """

    __slots__ = (
        "_able",
        "_free",
        "_limit",
        "_policy",
        "_ready",
        "_recall",
        "_weights",
        "due",
        "waiting",
    )

    def __init__(
        self, policy: Sticky, able: Callable[[int], bool], *, recall: float | None, limit: int
    ) -> None:
        self._policy = policy
        self._able = able
        self._recall = NEVER if recall is None else recall
        self._limit = limit
        self._weights: dict[int, float] = {}  # of all workers that may come back
        self._free: set[int] = set()
        self._ready: list[tuple[int, int]] = []  # the first of its own, and a worker that is free
        self.due = NEVER  # who is free waits for nobody
        self.waiting = Waiting()

    def bound(self, limit: int, recall: float | None) -> None:
        """Another limit of the lane, and another time for those that join from now on."""
        self._limit = limit
        self._recall = NEVER if recall is None else recall

    @property
    def uses_load(self) -> bool:
        return self._policy.uses_load

    @property
    def uses_key(self) -> bool:
        return self._policy.uses_key

    def __len__(self) -> int:
        return len(self._free)

    def offer(self, book: WorkerBook) -> None:
        self._policy.offer(book.id, book.load, book.weight)
        self._free.add(book.id)
        self._call(book.id)

    def withdraw(self, worker: int) -> None:
        self._policy.withdraw(worker)
        self._free.discard(worker)

    def loosen(self, worker: int) -> None:
        self.waiting.loosen(worker)

    def close(self, worker: int) -> None:
        """A worker is on its way out: it may take an hour, in which it needs no room."""
        self._weights.pop(worker, None)

    def forget(self, worker: int) -> None:
        self.waiting.loosen(worker)
        self._policy.forget(worker)
        self._free.discard(worker)
        self._weights.pop(worker, None)

    def enter(self, book: WorkerBook) -> None:
        self._weights[book.id] = book.weight

    def returned(self, book: WorkerBook) -> None:
        pass

    def expire(self, now: float) -> None:
        for worker in self.waiting.expire(now):
            self._call(worker)

    def pick(self, connection: Connection, queued: int, now: float) -> int | None:  # noqa: ARG002
        """Who of the free gets a connection that is open."""
        worker = self._policy.pick(connection.key)
        if worker is not None:
            self._free.discard(worker)
        return worker

    def take(self, now: float) -> tuple[Connection, int] | None:
        """The next connection that somebody can take, and who it is; None: there is none."""
        waiting = self.waiting
        while waiting.joining:
            self._join(waiting.joining.popleft(), now)
        if not self._free:
            return None
        ready = self._next_ready()
        if waiting.open:
            oldest = waiting.open.first
            if ready is None or oldest.number < ready[0]:
                worker = self.pick(oldest, len(waiting.open), now)
                if worker is not None:
                    return waiting.open.take(), worker
        if ready is None:
            return None
        self.withdraw(ready[1])
        return waiting.untie(ready[1]), ready[1]

    def _join(self, connection: Connection, now: float) -> None:
        """Decide where a connection belongs."""
        if connection.tied_until == NEVER:
            connection.tied_until = now + self._recall
        worker = self._choose(connection) if now < connection.tied_until else None
        if worker is None:
            self.waiting.open.put(connection)
        else:
            self.waiting.tie(connection, worker)
            self._call(worker)

    def _choose(self, connection: Connection) -> int | None:
        room = room_for(self._limit, len(self._weights))
        for worker in self._policy.prefer(connection.key, self._weights):
            if self.waiting.tied(worker) < room and self._able(worker):
                return worker
        return None

    def _call(self, worker: int) -> None:
        """If a worker is free, and some are tied to it, it is ready for the first of them."""
        first = self.waiting.first(worker)
        if first and worker in self._free:
            heappush(self._ready, (first, worker))

    def _next_ready(self) -> tuple[int, int] | None:
        """Who is free for one of its own, with its number: for the oldest."""
        ready = self._ready
        while ready:
            first, worker = ready[0]
            if worker in self._free and self.waiting.first(worker) == first:
                return first, worker
            heappop(ready)
        return None
