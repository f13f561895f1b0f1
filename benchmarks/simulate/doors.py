"""Where the kernel decides: models of ``shared`` and ``reuseport``, which have no scheduler.

``Shared``: one listener for all, in every worker's epoll with EPOLLEXCLUSIVE.  For a connection the
kernel wakes the first that sleeps, in a list that has the order in which they registered and never
changes (``ep_insert`` puts a worker at its end, ``ep_poll_callback`` passes over who is awake): so
the first get nearly everything while there is little to do.  Who is busy takes the next when it is
done, before anybody is woken for it.

``OwnQueues``: SO_REUSEPORT gives every worker a queue of its own, and a hash of the addresses
chooses one, blindly: here a number drawn for each connection.  A worker that dies leaves its queue
to its successor, as under ``--policy reuseport``.

Loads, holds and recalls there are none.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING, final

from benchmarks.simulate.clock import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from benchmarks.simulate.clock import Clock
    from benchmarks.simulate.crew import Crew, Request, Worker

__all__ = ["KERNELS", "OwnQueues", "Shared"]


@final
class Shared:
    """A ``Door``: one queue, and those that sleep in the order in which they registered."""

    def __init__(self, clock: Clock, crew: Crew, random: Random) -> None:
        del random
        self._clock = clock
        self._crew = crew
        self._queue: deque[tuple[float, Request]] = deque()
        self._order: list[int] = []  # a heap of ids, some of them awake
        self._listed: set[int] = set()  # whose id is in it
        self._sleeping: dict[int, Worker] = {}

    def connect(self, request: Request) -> None:
        self._queue.append((self._clock.now, request))
        self._wake()

    def oldest(self, worker: Worker) -> float:
        self._sleeping.pop(worker.id, None)
        return self._queue[0][0] if self._queue else NEVER

    def take(self, worker: Worker) -> Request:
        del worker
        return self._queue.popleft()[1]

    def asleep(self, worker: Worker) -> None:
        self._sleeping[worker.id] = worker
        if worker.id not in self._listed:
            self._listed.add(worker.id)
            heappush(self._order, worker.id)

    def born(self, worker: Worker) -> None:
        self.asleep(worker)
        if self._queue:
            self._wake()

    def died(self, worker: Worker) -> None:
        self._sleeping.pop(worker.id, None)
        if worker.busy and worker.request is None and self._queue:
            self._wake()  # the kernel had woken it for somebody who is still there

    def finished(self, worker: Worker) -> None:
        pass

    def blocked(self, worker: Worker) -> None:
        pass

    def _wake(self) -> None:
        while self._sleeping:
            number = heappop(self._order)
            self._listed.discard(number)
            worker = self._sleeping.pop(number, None)
            if worker is not None and not worker.busy:
                self._crew.rouse(worker)
                return


@final
class OwnQueues:
    """A ``Door``: a queue for every slot."""

    def __init__(self, clock: Clock, crew: Crew, random: Random) -> None:
        self._clock = clock
        self._crew = crew
        self._random = random
        self._queues: list[deque[tuple[float, Request]]] = []

    def connect(self, request: Request) -> None:
        slot = self._random.randrange(len(self._queues))
        self._queues[slot].append((self._clock.now, request))
        worker = self._crew.workers[slot]
        if worker.alive:
            self._crew.rouse(worker)

    def oldest(self, worker: Worker) -> float:
        queue = self._queues[worker.slot]
        return queue[0][0] if queue else NEVER

    def take(self, worker: Worker) -> Request:
        return self._queues[worker.slot].popleft()[1]

    def asleep(self, worker: Worker) -> None:
        pass

    def born(self, worker: Worker) -> None:
        if worker.slot == len(self._queues):
            self._queues.append(deque())
        elif self._queues[worker.slot]:
            self._crew.rouse(worker)

    def died(self, worker: Worker) -> None:
        pass

    def finished(self, worker: Worker) -> None:
        pass

    def blocked(self, worker: Worker) -> None:
        pass


KERNELS: dict[str, Callable[[Clock, Crew, Random], Shared | OwnQueues]] = {
    "shared": Shared,
    "reuseport": OwnQueues,
}
"""The models by the policies' names: all of ``core.policy.KERNEL_POLICIES``."""
