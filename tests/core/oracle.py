"""What should happen, as short as it can be written: the oracles for the scheduler's tests.

``NodeRoundRobin`` is written from the transition table of the reference (one free list, one queue,
one un-acked connection per worker, a refused connection goes back), for one listening key.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER = float("inf")


class NodeRoundRobin:
    def __init__(self) -> None:
        self.all: set[int] = set()
        self.free: deque[int] = deque()
        self.queue: deque[int] = deque()
        self.sent: list[tuple[int, int]] = []  # (connection, worker), in the order of sending

    def listen(self, worker: int) -> None:
        self.all.add(worker)
        self._handoff(worker)

    def accept(self, connection: int) -> None:
        self.queue.append(connection)
        if self.free:
            self._handoff(self.free.popleft())

    def ack(self, worker: int) -> None:
        self._handoff(worker)

    def remove(self, worker: int) -> None:
        self.all.discard(worker)
        if worker in self.free:
            self.free.remove(worker)

    def _handoff(self, worker: int) -> None:
        if worker not in self.all:
            return
        if self.queue:
            self.sent.append((self.queue.popleft(), worker))
        else:
            self.free.append(worker)


@dataclass(slots=True)
class _Waiting:
    number: int
    key: bytes
    place: int | None = None  # None: to be decided; OPEN; or the worker that it is tied to


class StickyLane:
    """Who may take what in a lane whose connections wait for their own worker.

    Written from the rules in ``by_key``, with one list that is walked for every question.
    ``order`` gives all workers in a key's order of preference; ``room`` is a worker's queue's.
    """

    OPEN = 0

    def __init__(self, recall: float | None) -> None:
        self.recall = NEVER if recall is None else recall
        self.until: dict[int, float] = {}
        self.waiting: dict[int, _Waiting] = {}
        self.credits: dict[int, int] = {}
        self.slots: dict[int, int] = {}
        self.order: Callable[[bytes], list[int]] = lambda _key: []

    def look(
        self,
        now: float,
        queued: dict[int, bytes],
        able: set[int],
        credits_: dict[int, int],
        order: Callable[[bytes], list[int]],
        slots: dict[int, int],
        room: int,
    ) -> None:
        """Something may have happened: what waits (with its key), who is well, who has credit."""
        self.credits, self.order, self.slots = credits_, order, slots
        for number in queued.keys() - self.waiting.keys():
            self.waiting[number] = _Waiting(number, queued[number])
            self.until.setdefault(number, now + self.recall)
        for each in self.waiting.values():
            if self.until[each.number] <= now:
                each.place = self.OPEN
            elif each.place is not None and each.place != self.OPEN and each.place not in able:
                each.place = None
        for each in sorted(self.waiting.values(), key=lambda each: each.number):
            if each.place is None:
                places = [other.place for other in self.waiting.values()]
                can = [w for w in order(each.key) if w in able and places.count(w) < room]
                each.place = can[0] if can and each.key else self.OPEN

    def next(self) -> tuple[int, set[int]] | None:
        """Which connection must go now, and to whom it may; None: none."""
        free = {worker for worker, count in self.credits.items() if count}
        able_to_go = [
            each
            for each in self.waiting.values()
            if (free if each.place == self.OPEN else each.place in free)
        ]
        if not able_to_go:
            return None
        each = min(able_to_go, key=lambda each: each.number)
        if each.place != self.OPEN:
            assert each.place is not None
            return each.number, {each.place}
        if not each.key:
            return each.number, free
        first = next(worker for worker in self.order(each.key) if worker in free)
        # its successor may be there already, and has the same name
        return each.number, {worker for worker in free if self.slots[worker] == self.slots[first]}

    def sent(self, number: int, worker: int) -> None:
        """It went."""
        del self.waiting[number]
        self.credits[worker] -= 1
