"""Where requests come from: an open loop, which waits for nobody.

Requests are due by a Poisson process whatever the server does.  Each has a connection of its own,
or one of a few that are kept: then the client that has been idle for longest sends it, and while
all have one under way it waits, and its clock runs.  That is what the real generator does.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, final

from benchmarks.simulate.setup import connections
from benchmarks.study.service import BoundedPareto
from benchmarks.study.workloads import Clients

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from benchmarks.simulate.clock import Clock
    from benchmarks.simulate.crew import Crew, Request, Worker
    from benchmarks.simulate.setup import Setup
    from benchmarks.simulate.tally import Tally

__all__ = ["Arrivals", "Bystander", "Pool"]

LIVES = BoundedPareto(alpha=1.0, least=1.0, most=1000.0)
"""Requests that a connection lives for, where that is uneven: as in the real generator."""


@final
class _Client:
    """One of those that keep their connections."""

    __slots__ = ("_left", "_pool", "worker")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._left = pool.draw_life()
        self.worker: Worker | None = None

    def answered(self) -> bool:
        self._left -= 1
        ends = self._left <= 0
        if ends:
            self.worker = None
            self._left = self._pool.draw_life()
        self._pool.free(self)
        return ends

    def lost(self) -> None:
        self.worker = None
        self._pool.free(self)


@final
class Bystander:
    """Who asks for something that is no part of the load, on a connection that stays."""

    worker: Worker | None = None

    def answered(self) -> bool:
        return False

    def lost(self) -> None:
        pass


@final
class Pool:
    """Clients with connections that they keep, and the requests that wait for one of them."""

    def __init__(
        self, clock: Clock, crew: Crew, setup: Setup, lives: Random,
        connect: Callable[[Request], None],
    ) -> None:  # fmt: skip
        self._clock = clock
        self._crew = crew
        self._accept = setup.costs.accept
        self._connect = connect
        self._lives = lives
        self._uneven = setup.workload.clients is Clients.UNEVEN
        self._waiting: deque[tuple[float, float]] = deque()
        self._idle: deque[_Client] = deque()
        for _ in range(connections(setup.workload, setup.workers)):
            self._idle.append(_Client(self))

    def draw_life(self) -> float:
        """How many requests a connection lives for."""
        return float(int(LIVES.draw(self._lives))) if self._uneven else float("inf")

    def ask(self, due: float, seconds: float) -> None:
        """A request is due."""
        if self._idle:
            self._send(self._idle.popleft(), due, seconds)
        else:
            self._waiting.append((due, seconds))

    def free(self, client: _Client) -> None:
        """A client has its answer, or will have none."""
        if self._waiting:
            self._send(client, *self._waiting.popleft())
        else:
            self._idle.append(client)

    def _send(self, client: _Client, due: float, seconds: float) -> None:
        worker = client.worker
        if worker is None or not worker.alive:
            client.worker = None
            self._clock.at(self._clock.now + self._accept, self._connect, (due, seconds, client))
        else:
            self._crew.bring(worker, (due, seconds, client))


@final
class Arrivals:
    """The schedule.  ``times`` and ``work`` are the same for all policies with one seed."""

    def __init__(
        self, clock: Clock, tally: Tally, setup: Setup, times: Random, work: Random,
        connect: Callable[[Request], None], pool: Pool | None,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._tally = tally
        self._rate = setup.rate
        self._left = setup.count
        self._warm_up = int(setup.count * setup.warm_up)
        self._service = setup.workload.service
        self._gap = times.expovariate
        self._work = work
        self._accept = setup.costs.accept
        self._connect = connect
        self._pool = pool

    @property
    def over(self) -> bool:
        """Whether the last has come."""
        return not self._left

    def start(self) -> None:
        """Plan the first."""
        self._plan(self._clock.now)

    def _plan(self, after: float) -> None:
        due = after + self._gap(self._rate)
        seconds = self._service.draw(self._work)
        if self._pool is None:
            self._clock.at(due + self._accept, self._arrive, (due, seconds, None))
        else:
            self._clock.at(due, self._arrive, (due, seconds, None))

    def _arrive(self, request: Request) -> None:
        due, seconds, _ = request
        tally = self._tally
        tally.due += 1
        self._left -= 1
        if self._warm_up:
            self._warm_up -= 1
            tally.since = due + 1e-12 if not self._warm_up else float("inf")
        if self._left:
            self._plan(due)
        if self._pool is None:
            self._connect(request)
        else:
            self._pool.ask(due, seconds)
