"""The lead: those that are free and ahead of others wait for them.

A policy says who is next.  Here one rule is added, which Node hasn't got: *a worker that
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

Cost: O(log n) for a hand-off, and nothing for an empty queue.  A lower bound of all standings is
kept, and who isn't ahead of that needs no closer look; in a long run, nobody does.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, final

from balancer.core.books import NEVER
from balancer.core.pacing import Patience, Young

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balancer.core.books import Connection, WorkerBook
    from balancer.core.pacing import Lead
    from balancer.core.policy import LeastConnections, Policy

__all__ = ["ByLoads", "ByTurns"]

STEP = 20
"""Turns for each of which a worker may be one more ahead."""


class _Waits:
    """When a lane waits, and when a burst begins; what is even is the subclasses'."""

    __slots__ = ("_age", "_books", "_idle_since", "_patience", "_young", "due")

    def __init__(self, books: Mapping[int, WorkerBook], lead: Lead) -> None:
        self._books = books
        self._age = lead.age
        self._young = Young(lead.age, books)
        self._patience = Patience(lead)
        self._idle_since = NEVER  # since when the queue has been empty
        self.due = NEVER

    def expire(self, now: float) -> None:
        """As in ``Free``; so the others that say nothing."""
        if self.due <= now:
            self.due = NEVER

    def loosen(self, worker: int) -> None:
        """Nobody waits for one worker alone."""

    def _start_over(self) -> None:
        """A burst begins: what was counted is forgotten, and nobody is ahead."""
        self._young.clear()

    def _fill(self, now: float) -> None:
        """There is a queue, after none."""
        idle = now - self._idle_since
        self._idle_since = NEVER
        if (not self._patience.whole and self._patience.rested(idle)) or idle >= self._age:
            self._start_over()

    def _spare(self, queued: int) -> int:
        """How far ahead somebody may be because the queue can even it out."""
        return queued // (2 * len(self._books))

    def _wait(self, until: float, now: float) -> None:
        self.due = min(until, self._patience.wait(now))

    def _go_on(self, now: float) -> None:
        self.due = NEVER
        self._patience.go_on(now)


@final
class ByTurns(_Waits):
    """For policies that go by turns; ``lane`` says which of the workers' turns are counted.

    Whom the policy picks and who is ahead, sits on a bench until the others have caught up, or
    there is nobody else: then the one there with the lowest standing is next.
    """

    __slots__ = (
        "_base",
        "_bench",
        "_benched",
        "_lane",
        "_late",
        "_most",
        "_order",
        "_policy",
        "_top",
    )

    uses_load = False

    def __init__(
        self, policy: Policy, lane: int, books: Mapping[int, WorkerBook], lead: Lead
    ) -> None:
        super().__init__(books, lead)
        self._policy = policy
        self._lane = lane
        # Turns are not set back: who has had fewer than the base has had none in this burst.
        self._base = 0
        self._most = 0.0  # with this standing nobody can be too far ahead
        self._top = 0  # the highest standing
        self._late: set[int] = set()  # who was waited for too long and hasn't answered yet
        self._bench: list[tuple[int, int, int]] = []  # standing, order, worker
        self._benched: dict[int, tuple[int, int, int]] = {}
        self._order = count()

    @property
    def uses_key(self) -> bool:
        return self._policy.uses_key

    def __len__(self) -> int:
        return len(self._policy) + len(self._benched)

    def offer(self, book: WorkerBook) -> None:
        worker = book.id
        if self._late and worker in self._late:
            self._late.discard(worker)
            self.enter(book)
        if worker not in self._benched:
            self._policy.offer(worker)

    def withdraw(self, worker: int) -> None:
        self._policy.withdraw(worker)
        self._benched.pop(worker, None)

    def forget(self, worker: int) -> None:
        self.withdraw(worker)
        self._policy.forget(worker)
        self._young.forget(worker)
        self._late.discard(worker)

    def enter(self, book: WorkerBook) -> None:
        book.turns[self._lane] = max(self._top, book.turns[self._lane])

    def returned(self, book: WorkerBook) -> None:
        book.turns[self._lane] -= 1

    def pick(self, connection: Connection, queued: int, now: float) -> int | None:
        if now > self._idle_since:
            self._fill(now)
        worker = self._policy.pick(connection.key)
        if worker is None and not self._benched:
            if self._patience.until != NEVER:
                self._go_on(now)
            return None
        if worker is None or self._books[worker].turns[self._lane] > self._most:
            worker = self._pick_closely(worker, connection.key, queued, now)
            if worker is None:
                return None
        turns = self._books[worker].turns
        standing = turns[self._lane]
        if standing < self._base:
            standing = self._base
        standing += 1
        turns[self._lane] = connection.standing = standing
        if standing > self._top:
            self._top = standing
        self._young.note(connection)
        if queued == 1:
            self._idle_since = now
        if self._patience.until != NEVER:
            self._go_on(now)
        return worker

    def _pick_closely(self, first: int | None, key: bytes, queued: int, now: float) -> int | None:
        """Who is next after this one, which may be ahead; None if everybody has to wait."""
        worker = first
        while worker is not None:
            standing = self._books[worker].turns[self._lane]
            if standing <= self._most:
                return worker
            entry = (standing, next(self._order), worker)
            self._benched[worker] = entry
            heappush(self._bench, entry)
            worker = self._policy.pick(key)
        return self._policy.pick(key) if self._let_in(queued, now) else None

    def _let_in(self, queued: int, now: float) -> bool:
        """Everybody is on the bench: whether anybody gets off it; sets ``due`` if not."""
        patience = self._patience
        if patience.lost or patience.loses(now):
            self._start_over()
            return True
        young, until = self._young.last(now, self._late)
        lowest = self._lowest()
        least = int(min(young, lowest))
        self._most = least + max(0, (least - self._base) // STEP - 1)
        if lowest > max(self._most, least + self._spare(queued) - 1):
            self._wait(until, now)
            return False
        bench = self._bench
        self._get_off(heappop(bench))
        while bench and bench[0][0] <= self._most:
            self._get_off(heappop(bench))
        return True

    def _lowest(self) -> int:
        """The lowest standing on the bench, where there is somebody."""
        while self._benched.get(self._bench[0][2]) is not self._bench[0]:
            heappop(self._bench)  # withdrawn since
        return self._bench[0][0]

    def _get_off(self, entry: tuple[int, int, int]) -> None:
        if self._benched.get(entry[2]) is entry:
            del self._benched[entry[2]]
            self._policy.offer(entry[2])

    def _start_over(self) -> None:
        super()._start_over()
        self._base = self._top
        # Without patience it begins again and again; with none to lose, turns needn't be compared.
        self._most = NEVER if self._patience.lost else self._base
        self._late.clear()
        for entry in sorted(self._bench):
            self._get_off(entry)
        self._bench.clear()


@final
class ByLoads(_Waits):
    """For least connections: the next has the least, so where it is ahead, all are."""

    __slots__ = ("_least", "_ranking")

    uses_load = True
    uses_key = False

    def __init__(
        self, policy: LeastConnections, books: Mapping[int, WorkerBook], lead: Lead
    ) -> None:
        super().__init__(books, lead)
        self._ranking = policy
        self._least = NEVER  # no standing of the young is lower

    def __len__(self) -> int:
        return len(self._ranking)

    def offer(self, book: WorkerBook) -> None:
        self._ranking.offer(book.id, book.load, book.weight)

    def withdraw(self, worker: int) -> None:
        self._ranking.withdraw(worker)

    def forget(self, worker: int) -> None:
        self._ranking.forget(worker)
        self._young.forget(worker)

    def enter(self, book: WorkerBook) -> None:
        pass

    def returned(self, book: WorkerBook) -> None:
        pass

    def pick(self, connection: Connection, queued: int, now: float) -> int | None:
        if now > self._idle_since:
            self._fill(now)
        worker = self._ranking.pick()
        if worker is not None:
            book = self._books[worker]
            load = book.load
            if load / book.weight > self._least and self._is_ahead(load / book.weight, queued, now):
                self._ranking.put_back()
                return None
            connection.standing = standing = (load + 1) / book.weight
            if standing < self._least:
                self._least = standing
            self._young.note(connection)
            if queued == 1:
                self._idle_since = now
        if self._patience.until != NEVER:
            self._go_on(now)
        return worker

    def _is_ahead(self, standing: float, queued: int, now: float) -> bool:
        """Whether a worker with this standing has to wait; sets ``due`` if so."""
        patience = self._patience
        if patience.lost or patience.loses(now):
            return False
        self._least, until = self._young.last(now, set())
        if standing <= self._least or standing < self._least + self._spare(queued):
            return False
        self._wait(until, now)
        return True

    def _start_over(self) -> None:
        super()._start_over()
        self._least = NEVER
