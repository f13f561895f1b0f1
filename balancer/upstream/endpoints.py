"""The upstreams, as one worker sees them: choice, count, health and connections together.

What is decided is decided in ``core`` (``Chooser``, ``ejection``, ``RetryBudget``), what is counted
is counted in the machine's table (``net.endpoints``); this is where the one is told of the other.

A claim is ``choose``, then count, then look: ``max`` is the machine's, and another worker may have
taken the last place in between.  Whatever changes in the table shows as another version, which is
looked at before each choice: a worker is never later than its next request.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from hashlib import blake2b
from time import monotonic
from typing import TYPE_CHECKING, final

from balancer.core.endpoints import Chooser, EndpointState
from balancer.core.health import EjectionConfig, ejection, remembered
from balancer.core.retry import RetryBudget
from balancer.net.endpoints.address import show_address
from balancer.upstream.directory import NoEndpoint, Wish
from balancer.upstream.lease import EndpointLease

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from balancer.net.endpoints import EndpointRow, WorkerView
    from balancer.settings.upstream import Upstream
    from balancer.upstream.connection import Clock, UpstreamConnection
    from balancer.upstream.pool import Pool
    from balancer.upstream.queue import Queue, Ticket

__all__ = ["Endpoints", "EndpointsConfig"]

logger = logging.getLogger("balancer")

RETRY_AFTER = 2
"""Seconds, the default of ``--probe-interval``: then there may be news."""


@final
@dataclass(frozen=True, slots=True)
class EndpointsConfig:
    """What the settings say of choice and health; times in seconds.

    Attributes:
        ejection: When failures take an endpoint out.
        retry_budget: Per cent of the requests that may be retries.
        failed_after: What a failure counts as, to a policy by latency: the longest wait.
        prefix: What names begin with in the log.
    """

    ejection: EjectionConfig
    retry_budget: float = 20
    failed_after: float = 60.0
    prefix: str = ""


@final
class Endpoints:
    """The directory over a pool in the shared table; owns the connections that nobody uses.

    Args:
        upstreams: The pool's, by number: rows of other numbers are other pools', or came after this
            worker.
        view: This worker's side of the table.
        make_chooser: From the names of the endpoints' addresses.
        pool: For idle connections.
        queue: For requests that have to wait.
        connect: A new connection to an endpoint: UpstreamError where there is none.
        open_ones: All connections that are open.
        clock: That of their deadlines.
        config: The rest of the settings.
    """

    def __init__(
        self,
        upstreams: Mapping[int, Upstream],
        view: WorkerView,
        make_chooser: Callable[[Callable[[int], bytes]], Chooser],
        pool: Pool,
        queue: Queue,
        connect: Callable[[EndpointRow, Upstream], Awaitable[UpstreamConnection]],
        open_ones: set[UpstreamConnection],
        clock: Clock,
        config: EndpointsConfig,
    ) -> None:
        self.view = view
        self.pool = pool
        self._open_ones = open_ones
        self._upstreams = upstreams
        self._connect = connect
        self._clock = clock
        self._config = config
        self._queue = queue
        self._budget = RetryBudget(config.retry_budget, *view.spent())
        self._bounded = any(each.max for each in upstreams.values())
        self._version: int | None = None
        self._rows: dict[int, EndpointRow] = {}
        self._refused: dict[
            int, int
        ] = {}  # the runs that came to nothing: all rows are read for it
        self._kept: set[int] = set()  # endpoints whose connections are used again
        self._names: dict[int, tuple[str, bytes]] = {}  # the address, and its token
        self._by_token: dict[bytes, int] = {}
        self._chooser = make_chooser(lambda index: self._names[index][0].encode())
        self.uses_latency = self._chooser.uses_latency

    # -- who gets it --------------------------------------------------------------------------

    def claim(self, wish: Wish) -> EndpointLease | None:
        """A claim on the endpoint for a request; None: it has to wait, as others do before it.

        Raises:
            NoEndpoint: there is none that could ever take it.
        """
        if self._bounded and self.view.waiting():
            return None
        return self._claim(wish)

    async def wait(self, wish: Wish, ticket: Ticket) -> EndpointLease:
        """As ``claim``, when there is room.

        Raises:
            NoEndpoint: the queue is full, or it took too long, or there is none any more.
            ClientLeft: the ticket was abandoned.
        """
        return await self._queue.wait(lambda: self._claim(wish), ticket)

    def _claim(self, wish: Wish) -> EndpointLease | None:
        view, chooser = self.view, self._chooser
        if view.version != self._version:
            self._look()
        now = monotonic()
        prefer = self._by_token.get(wish.prefer) if wish.prefer else None
        index = chooser.choose(wish.key, view.active, now, wish.tried, prefer)
        if index is None:
            if not chooser.usable(now):
                raise NoEndpoint("no upstream is available", RETRY_AFTER)
            return None
        if self._bounded:
            if not view.claim(index, self._upstreams[self._rows[index].upstream].max):
                return None
        else:
            view.begin(index)
        if wish.costs:
            view.retried(index)
        return EndpointLease(self, index, *self._names[index])

    def _look(self) -> None:
        """The table has changed."""
        self._version = self.view.version  # before: what changes meanwhile shows next time
        before, self._rows = self._rows, self._read()
        for index, old in before.items():
            new = self._rows.get(index)
            if new is None or new.placed != old.placed or new.down or new.drained:
                self.pool.forget(index)
        names = [(index, self._name(row)) for index, row in self._rows.items()]
        self._names = {index: (name, _token(name)) for index, name in names}
        self._by_token = {token: index for index, (_, token) in self._names.items()}
        self._kept = {row.index for row in self._rows.values() if not (row.down or row.drained)}
        self._chooser.update([self._state(row) for row in self._rows.values()])

    def _read(self) -> dict[int, EndpointRow]:
        """The rows of the pool, by their indices."""
        known = self._upstreams
        return {row.index: row for row in self.view.states() if row.upstream in known}

    def _name(self, row: EndpointRow) -> str:
        return show_address(row.address) or self._upstreams[row.upstream].path or ""

    def _state(self, row: EndpointRow) -> EndpointState:
        upstream = self._upstreams[row.upstream]
        return EndpointState(
            row.index,
            self._names[row.index][0],
            row.weight,
            upstream.max,
            upstream.backup,
            row.drained,
            row.down,
            row.ejected_until,
            row.since,
        )

    def may_retry(self) -> bool:
        """Whether the retry budget has room for one more."""
        return self._budget.allows(*self.view.spent())

    # -- for leases ---------------------------------------------------------------------------

    async def dial(self, index: int) -> UpstreamConnection:
        """A new connection; UpstreamError: there is none."""
        row = self._rows[index]
        return await self._connect(row, self._upstreams[row.upstream])

    def keep(self, connection: UpstreamConnection) -> None:
        """Its response is complete: another request may use it."""
        connection.deadline = math.inf
        if connection.endpoint in self._kept:
            self.pool.put(connection, self._clock.now)
        else:
            connection.close()

    def release(self, index: int) -> None:
        """A request is over: there is room for another one."""
        self.view.end(index)
        if self._bounded and self.view.waiting():
            self._queue.wake()

    def observe(self, index: int, seconds: float) -> None:
        """An answer took so long."""
        self._chooser.observe(index, seconds, monotonic())

    def blame(self, index: int) -> None:
        """A request failed because of an endpoint, which may be ejected for it."""
        if self.uses_latency:
            self.observe(index, self._config.failed_after)
        run = self.view.failed(index)
        config = self._config.ejection
        refused = self._refused.get(index, 0)
        if refused > run:  # of a run that is over
            refused = 0
        if not 0 < config.after <= run - refused:
            return
        now = monotonic()
        rows = self._read()
        row = rows.pop(index, None)
        if row is None:  # it is gone
            return
        already = remembered(row.ejections, row.ejected_until, now, config)
        out = sum(each.ejected_until > now for each in rows.values())
        seconds = ejection(run, already, out, len(rows) + 1, config)
        self._refused[index] = run if seconds is None else 0
        if seconds is not None and self.view.eject(
            index, now + seconds, times=already + 1, now=now
        ):
            logger.warning(
                "upstream %s%s: %d failures in a row: it gets no requests for %g s",
                self._config.prefix,
                self._name(row),
                run,
                seconds,
            )

    # -- time ---------------------------------------------------------------------------------

    def tick(self) -> None:
        """Time has moved: interrupt what takes too long, close what nobody needs."""
        if self.view.version != self._version:  # no request has come since the table has changed
            self._look()
        now = self._clock.now
        for connection in list(self._open_ones):
            connection.expire(now)
        self.pool.expire(now)
        self._budget.note(monotonic(), *self.view.spent())

    def close(self) -> None:
        """Close the idle connections."""
        self.pool.close()


def _token(name: str) -> bytes:
    """What a sticky cookie calls an endpoint: the same on every machine, and no address."""
    return blake2b(name.encode(), digest_size=8).hexdigest().encode()
