"""The workers: event loops that do one thing after another.

A worker that has nothing to do sleeps in epoll, and takes a moment to wake.  Then it does what is
there, oldest first: connections from its door (the master's socket pair, or a listener), which it
acknowledges *before* it serves them, and requests on connections that it has.  Work blocks the
whole loop, so what comes meanwhile stays where it is, a hand-off unacknowledged.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol, final

from benchmarks.simulate.clock import NEVER

if TYPE_CHECKING:
    from balancer.core.books import Connection
    from benchmarks.simulate.clock import Clock
    from benchmarks.simulate.setup import Costs
    from benchmarks.simulate.tally import Tally

__all__ = ["LONG", "Client", "Crew", "Door", "Request", "Worker"]

LONG = 1.0
"""Work that the master may see as silence, in seconds (``core.liveness.SILENCE``)."""


class Client(Protocol):
    """Who keeps its connection; ``worker`` has it, None while there is none."""

    worker: Worker | None

    def answered(self) -> bool:
        """Its request is answered; whether it closes the connection now."""

    def lost(self) -> None:
        """Its worker died with its request."""


Request = tuple[float, float, Client | None]
"""When it was due (NEVER: it is nobody's), its work in seconds, and who keeps its connection (None:
it is the only one on it)."""


@final
class Worker:
    """One life of a worker: its successor in the slot is another one."""

    __slots__ = (
        "accepted",
        "active",
        "alive",
        "busy",
        "frozen_until",
        "id",
        "inbox",
        "ready",
        "request",
        "slot",
        "slowness",
        "turned",
    )

    def __init__(self, number: int, slot: int, slowness: float) -> None:
        self.id = number
        self.slot = slot
        self.slowness = slowness
        self.alive = True
        self.busy = False  # awake, or about to be
        self.frozen_until = 0.0
        self.turned = 0.0  # when its loop turned last, while it was busy
        self.request: Request | None = None  # that it works on
        self.inbox: deque[Connection] = deque()  # in its socket: the master may take them back
        self.ready: deque[tuple[float, Request]] = deque()  # on connections that it has
        self.active = 0
        self.accepted = 0


class Door(Protocol):
    """Where connections come from."""

    def connect(self, request: Request) -> None:
        """A client has connected, and this is its first request."""

    def oldest(self, worker: Worker) -> float:
        """Since when the next connection for a worker waits; NEVER: there is none."""

    def take(self, worker: Worker) -> Request:
        """The worker takes it, and says so."""

    def asleep(self, worker: Worker) -> None:
        """The worker has nothing to do."""

    def finished(self, worker: Worker) -> None:
        """The worker has done what it took, or a request of somebody who stays."""

    def blocked(self, worker: Worker) -> None:
        """The worker's loop will not turn for long."""

    def born(self, worker: Worker) -> None:
        """A worker is ready."""

    def died(self, worker: Worker) -> None:
        """A worker is dead."""


@final
class Crew:
    """All workers; ``door`` must be set before anything happens."""

    door: Door

    def __init__(self, clock: Clock, costs: Costs, tally: Tally, slowness: list[float]) -> None:
        self._clock = clock
        self._costs = costs
        self._tally = tally
        self._waits = tally.waits
        self._slowness = slowness
        self._last_id = 0
        self.workers: list[Worker] = []
        """By slot; where one has died, the dead one until the next is born."""
        self.dirty = bytearray(len(slowness))
        """By slot: whether ``active`` or ``accepted`` has changed since somebody looked."""

    def start(self) -> None:
        """All are born."""
        for slot in range(len(self._slowness)):
            self.workers.append(self._make(slot))
            self.door.born(self.workers[slot])

    def rouse(self, worker: Worker) -> None:
        """There is something to do for a worker."""
        if not worker.busy:
            worker.busy = True
            self._clock.at(self._clock.now + self._costs.handoff, self._wake, worker)

    def bring(self, worker: Worker, request: Request) -> None:
        """A request comes on a connection that a worker has."""
        worker.ready.append((self._clock.now, request))
        self.rouse(worker)

    def freeze(self, worker: Worker, seconds: float) -> None:
        """SIGSTOP, and SIGCONT so many seconds later."""
        worker.frozen_until = self._clock.now + seconds
        self.door.blocked(worker)
        self._clock.at(worker.frozen_until, self._thaw, worker)

    def kill(self, slot: int, respawn: float) -> None:
        """SIGKILL: what the worker has taken is lost; the next one is ready after a time."""
        worker = self.workers[slot]
        if not worker.alive:
            return
        worker.alive = False
        self.door.died(worker)
        lost = [request for _, request in worker.ready]
        if worker.request is not None:
            lost.append(worker.request)
        for due, _, client in lost:
            if due != NEVER:
                self._tally.fail("worker died")
            if client is not None:
                client.lost()
        self._clock.at(self._clock.now + respawn, self._replace, slot)

    def _replace(self, slot: int) -> None:
        self.workers[slot] = self._make(slot)
        self.door.born(self.workers[slot])

    def _make(self, slot: int) -> Worker:
        self._last_id += 1
        return Worker(self._last_id, slot, self._slowness[slot])

    # -- the loop of a worker -----------------------------------------------------------------

    def _thaw(self, worker: Worker) -> None:
        worker.turned = self._clock.now

    def _wake(self, worker: Worker) -> None:
        if worker.frozen_until > self._clock.now:
            self._clock.at(worker.frozen_until, self._wake, worker)
        elif worker.alive:
            self._next(worker)

    def _next(self, worker: Worker) -> None:
        """Begin with what has waited longest, or sleep."""
        since = self.door.oldest(worker)
        ready = worker.ready
        if ready and ready[0][0] <= since:
            request = ready.popleft()[1]
        elif since != NEVER:
            worker.active += 1
            worker.accepted += 1
            self.dirty[worker.slot] = 1
            request = self.door.take(worker)
            due, _, client = request
            if client is not None:
                client.worker = worker  # it stays, so it counts also while warming up
            if due != NEVER and (due >= self._tally.since or client is not None):
                self._tally.connections[worker.slot] += 1
        else:
            worker.busy = False
            self.door.asleep(worker)
            return
        self._begin(worker, request)

    def _begin(self, worker: Worker, request: Request) -> None:
        now = self._clock.now
        worker.request = request
        seconds = self._costs.request + request[1] * worker.slowness
        if self._waits is not None:
            self._waits.append(now - request[0])
        self._clock.at(now + seconds, self._end, worker)
        if seconds > LONG:
            self.door.blocked(worker)

    def _end(self, worker: Worker) -> None:
        now = self._clock.now
        if worker.frozen_until > now:  # a sleep goes on while its process is stopped
            self._clock.at(worker.frozen_until, self._end, worker)
            return
        request = worker.request
        if not worker.alive or request is None:
            return
        worker.request = None
        worker.turned = now
        due, _, client = request
        if due != NEVER:
            self._tally.answer(due, now, worker.slot)
        if client is None or client.answered():
            worker.active -= 1
            self.dirty[worker.slot] = 1
        self.door.finished(worker)
        self._next(worker)
