"""The free workers of a lane, and which of them gets its next connection.

A policy says who is next.  With a ``lead`` one rule is added, which Node hasn't got: *a worker that
is ahead of others waits for them*, if they have hand-offs that they may acknowledge any moment.
Node takes who acknowledges first, and in a burst that is whom the kernel happens to run: of 100
connections at once, over five workers on two cores, Node's cluster gave them 24/22/20/18/16 and
worse, and ours, which answer sooner, 36/23/17/13/11.  With the rule it is twenty each.

*Ahead* is in the policy's own measure, the worker's standing: its load by weight where the policy
goes by loads, else the turns that it has had in this burst.  It may be one more than the least of
those that are waited for; and more while that can do no harm: half of what the queue could still
even out (so that five workers meet a handful of times in a burst of 100, and not twenty), and with
turns, which needn't be exact when they are many, one in ``STEP``.

For whom, and how long: for workers that aren't held and whose hand-off is younger than
``lead.age``; and in all no longer than ``lead.patience`` while there is a queue.  That is the most
that a connection loses by the rule.  A burst ends when the queue has been empty for ``lead.age``,
so that nobody would be waited for, or when the patience is lost.  What was counted is then
forgotten, and workers that come (back) within a burst start level with the others.

With a lead the next worker is always the one with the lowest standing, and of several the one that
has been free longest: where everybody answers in turn, that is Node's order.  So when that one is
ahead, everybody who is free is.  Cost: O(log n) for a hand-off, nothing for an empty queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from balancer.core.books import NEVER
from balancer.core.pacing import Patience, Young
from balancer.core.policy import LeastConnections

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balancer.core.books import Connection, WorkerBook
    from balancer.core.pacing import Lead
    from balancer.core.policy import Policy

__all__ = ["Free", "Paced"]

STEP = 20
"""Turns for each of which a worker may be one more ahead."""


@final
class Free:
    """Those of a lane's workers that can take a connection, by the policy alone: Node's rule."""

    __slots__ = ("_policy", "due")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.due = NEVER
        """As in ``Paced``: never."""

    @property
    def uses_load(self) -> bool:
        """Whether loads must be observed."""
        return self._policy.uses_load

    def __len__(self) -> int:
        """How many could take a connection, those that are ahead among them."""
        return len(self._policy)

    def offer(self, book: WorkerBook) -> None:
        """A worker can take a connection (again), or its load has changed."""
        self._policy.offer(book.id, book.load, book.weight)

    def withdraw(self, worker: int) -> None:
        """A worker can't take connections now."""
        self._policy.withdraw(worker)

    def forget(self, worker: int) -> None:
        """A worker is gone for good."""
        self._policy.forget(worker)

    def pick(self, connection: Connection, queued: int, now: float) -> int | None:  # noqa: ARG002
        """Who gets the first of the connections that are queued; None when nobody should."""
        return self._policy.pick(connection.key)

    def enter(self, book: WorkerBook) -> None:
        """A worker comes (back): it owes nobody what it didn't get meanwhile."""

    def returned(self, book: WorkerBook) -> None:
        """A worker didn't take what it was handed."""

    def expire(self, now: float) -> None:
        """What was waited for has come to its end: the next ``pick`` will see."""


@final
class Paced:
    """The same with the rule; ``lane`` says which of the workers' turns are counted."""

    __slots__ = (
        "_base",
        "_books",
        "_by_load",
        "_idle_since",
        "_lane",
        "_late",
        "_lead",
        "_least",
        "_patience",
        "_ranking",
        "_top",
        "_young",
        "due",
    )

    def __init__(
        self, policy: Policy, lane: int, books: Mapping[int, WorkerBook], lead: Lead
    ) -> None:
        self._ranking = LeastConnections()
        self._by_load = policy.uses_load
        self._lane = lane
        self._books = books
        self._lead = lead
        self._young = Young(lead.age, books)
        self._patience = Patience(lead)
        self._idle_since = NEVER  # since when the queue has been empty
        # Turns are not set back: who has had fewer than the base has had none in this burst.
        self._base = 0.0
        self._least = NEVER  # no standing of the young is lower
        self._top = 0.0  # the highest standing
        self._late: set[int] = set()  # who was waited for too long and hasn't answered yet
        self.due = NEVER
        """Until when nobody gets anything by the rule, if nothing happens; NEVER: it isn't so."""

    @property
    def uses_load(self) -> bool:
        """As in ``Free``; so the others that say nothing."""
        return self._by_load

    def __len__(self) -> int:
        return len(self._ranking)

    def offer(self, book: WorkerBook) -> None:
        if self._by_load:
            self._ranking.offer(book.id, book.load, book.weight)
            return
        if self._late and book.id in self._late:
            self._late.discard(book.id)
            self.enter(book)
        turns = book.turns
        if turns[self._lane] < self._base:
            turns[self._lane] = self._base
        self._ranking.offer(book.id, turns[self._lane])

    def withdraw(self, worker: int) -> None:
        self._ranking.withdraw(worker)

    def forget(self, worker: int) -> None:
        self._ranking.forget(worker)
        self._young.forget(worker)
        self._late.discard(worker)

    def enter(self, book: WorkerBook) -> None:
        book.turns[self._lane] = max(self._top, book.turns[self._lane])

    def returned(self, book: WorkerBook) -> None:
        book.turns[self._lane] -= 1

    def expire(self, now: float) -> None:
        if self.due <= now:
            self.due = NEVER

    def pick(self, connection: Connection, queued: int, now: float) -> int | None:
        idle = now - self._idle_since
        if idle > 0.0:
            self._idle_since = NEVER
            if idle >= self._lead.age or not self._patience.whole:
                self._fill(idle)
        worker = self._ranking.pick()
        if worker is None:
            self._go_on(now)
            return None
        book = self._books[worker]
        if self._by_load:
            standing = book.load / book.weight
            after = standing + 1 / book.weight
        else:
            standing = book.turns[self._lane]
            if standing < self._base:
                standing = self._base
            after = standing + 1
        if standing > self._least and self._is_ahead(standing, queued, now):
            self._ranking.put_back()
            return None
        if not self._by_load:
            book.turns[self._lane] = after
            if after > self._top:
                self._top = after
        if after < self._least:
            self._least = after
        self._young.add(after, connection, worker)
        if self._patience.until != NEVER:
            self._go_on(now)
        if queued == 1:
            self._idle_since = now
        return worker

    def _is_ahead(self, standing: float, queued: int, now: float) -> bool:
        """Whether a worker with this standing has to wait; sets ``due`` if so."""
        if standing < self._least + self._spare(queued):
            return False
        patience = self._patience
        if patience.lost or patience.loses(now):
            self._start_over()  # again and again, until there is patience: so turns don't count
            return False
        self._least, until = self._young.last(now, self._late)
        if standing <= self._least or standing < self._least + self._spare(queued):
            return False
        self.due = min(until, patience.wait(now))
        return True

    def _spare(self, queued: int) -> int:
        """How much more than the least a worker may have before it is given another one."""
        lead = queued // (2 * len(self._books))
        return lead if self._by_load else max(lead, int(self._least - self._base) // STEP)

    def _go_on(self, now: float) -> None:
        self.due = NEVER
        if self._patience.until != NEVER:
            self._patience.go_on(now)

    def _fill(self, idle: float) -> None:
        """There is a queue again."""
        if self._patience.rested(idle) or idle >= self._lead.age:
            self._start_over()

    def _start_over(self) -> None:
        """A burst begins: what was counted is forgotten, and nobody is ahead."""
        self._base = self._top
        self._least = NEVER
        self._young.clear()
        self._late.clear()
