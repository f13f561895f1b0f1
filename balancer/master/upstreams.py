"""The servers behind, as the master sees them: their table, which workers and watcher share.

The master decides nothing about requests here.  It makes the table, gives each worker a row of it
before it starts, and says when a worker is dead, so that what it had in progress counts no more.
It also does what an operator asks for: another list of upstreams, and one of them out, back, or
with another weight.

The watcher places and removes rows, too, so it is stopped while the master does.
"""

from __future__ import annotations

import logging
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, final

import trio

from balancer.core.control import UpstreamStatus
from balancer.core.health import availability
from balancer.errors import RunError, UsageError
from balancer.master.naming import find_rows
from balancer.master.pools import Book, let_go
from balancer.master.revision import Change, apply, ask, compare
from balancer.master.watcher import Watcher, watcher_config
from balancer.net.doorbell import Doorbell
from balancer.net.endpoints import EndpointTable
from balancer.net.endpoints.address import show_address
from balancer.settings.upstream import MAX_WEIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balancer.master.pools import Pool
    from balancer.net.endpoints import EndpointRow, Heads
    from balancer.settings import Settings, Upstream

__all__ = ["Upstreams"]

logger = logging.getLogger("balancer")

LOOK = 0.1
"""Seconds between two looks at what is in progress at an upstream."""


@final
class Upstreams:
    """All pools; owns the endpoints' table, which there is as soon as there is a pool.

    Attributes:
        book: The list that new workers are to go by.

    Raises:
        UsageError: an upstream has no address, or the certificates to trust can't be read.
    """

    def __init__(self, settings: Settings) -> None:
        self.book = Book()
        self._table: EndpointTable | None = None
        self._doorbell: Doorbell | None = None
        self._watcher = Watcher()
        self._idle_pools: set[int] = set()  # those that are drained as a whole, and were said to be
        self._apply(ask(compare(self.book, settings), None))

    async def watch(self) -> None:
        """Keep the watcher running, until cancelled."""
        await self._watcher.run()

    # -- workers ------------------------------------------------------------------------------

    @property
    def fd(self) -> int | None:
        """The table's, for workers; None where there has been no pool yet."""
        return None if self._table is None else self._table.fd

    def admit(self, row: int) -> None:
        """A worker is about to start."""
        if self._table is not None:
            self._table.admit(row)

    def bury(self, row: int) -> None:
        """A worker is dead; what it had may be the room that another one's request waits for."""
        if self._table is None or self._doorbell is None:
            return
        self._table.depart(row)
        for pool in self.book.pool_numbers().values():
            oldest = self._table.oldest_waiter(pool=pool)
            if oldest is not None:
                self._doorbell.ring(oldest, pool)
        self._let_go(self._table)

    # -- another list -------------------------------------------------------------------------

    async def adopt(self, settings: Settings) -> Change:
        """``prepare`` and ``commit``; what has changed."""
        change = await self.prepare(settings)
        await self.commit(change)
        return change

    async def prepare(self, settings: Settings) -> Change:
        """What these settings would change; nothing is changed yet.

        Names that are new are looked up, for ``placement.PATIENCE`` at most.

        Raises:
            UsageError: as at the start.
        """
        change = compare(self.book, settings)
        # the C library's resolver blocks
        return await trio.to_thread.run_sync(
            partial(ask, change, self._table), abandon_on_cancel=True
        )

    async def commit(self, change: Change) -> None:
        """Do it.  Workers that are started with the settings from now on know everything.

        Those that run go by the list that they have, until they are replaced: what was taken away
        stays for them.  If they can't be replaced, ``adopt`` the settings of before: whatever can
        still be as it was will be.

        Raises:
            RunError: there has been another change since ``prepare``.
        """
        if change.before.edition != self.book.edition:
            raise RunError("the upstreams have been changed by another reload; reload again")
        if not change.found and self._watcher.config == watcher_config(
            change.settings, change.book
        ):
            self.book = change.book
            return
        async with self._watcher.relieved():
            self._apply(change)
        if summary := change.summary():
            logger.info("other upstreams: %s", summary)

    def _apply(self, change: Change) -> None:
        self.book = change.book
        if self.book.pools and self._table is None:
            self._table = EndpointTable.create()
            self._doorbell = Doorbell(self._table.fd)
        if self._table is not None:
            for sentence in apply(change, self._table):
                logger.warning("%s", sentence)
            self._let_go(self._table)
            self._watcher.table = self._table
            self._note_idle_pools()
        self._watcher.config = watcher_config(change.settings, self.book)

    def _let_go(self, table: EndpointTable) -> None:
        """Remove the rows of those that no worker goes by any more."""
        if not self.book.left:
            return
        self.book, gone = let_go(self.book, table.editions())
        for row in table.heads.states():
            if row.upstream in gone:
                table.heads.remove(row.index)

    # -- one of them --------------------------------------------------------------------------

    def drain(self, name: str) -> list[EndpointRow]:
        """Give an upstream no new requests; its endpoints, which ``idle`` can be asked about.

        Raises:
            RunError: there is none of that name.
        """
        found = self._find(name, "drain")
        for row, shown in found:
            if self._heads().drain(row.index, drained=True, now=monotonic()):
                logger.info("upstream %s is drained on request", shown)
        self._note_idle_pools()
        return [row for row, _ in found]

    async def idle(self, rows: Sequence[EndpointRow], name: str) -> None:
        """Return when nothing is in progress any more at these endpoints, which are drained.

        Raises:
            RunError: one of them gets requests again.
        """
        # Requests are counted in shared memory, and a word there wakes nobody: workers have other
        # things to do than to tell whoever may be waiting.
        while any(self._busy(row, name) for row in rows):  # noqa: ASYNC110 - see above
            await trio.sleep(LOOK)

    def _busy(self, row: EndpointRow, name: str) -> bool:
        assert self._table is not None
        now = self._table.heads.row(row.index)
        if now is not None and now.placed != row.placed:  # given away, so nothing was in progress
            return False
        if now is not None and not now.drained:
            raise RunError(f"drain {name}: it was resumed before its last request had ended")
        return bool(self._table.active(row.index))

    def resume(self, name: str) -> None:
        """Give an upstream that was drained requests again.

        Raises:
            RunError: there is none of that name.
        """
        for row, shown in self._find(name, "resume"):
            if self._heads().drain(row.index, drained=False, now=monotonic()):
                logger.info("upstream %s is back on request", shown)
        self._note_idle_pools()

    def weigh(self, name: str, weight: int) -> None:
        """Give an upstream another weight, until the configuration says another one than now.

        Raises:
            RunError: there is none of that name.
            UsageError: there is no such weight.
        """
        if not 1 <= weight <= MAX_WEIGHT:
            hint = (
                f"; to give it no requests, drain it: balancer drain {name}" if not weight else ""
            )
            raise UsageError(
                f"weight {name} {weight}: must be a whole number from 1 to {MAX_WEIGHT}{hint}"
            )
        for row, shown in self._find(name, "weight"):
            if row.weight != weight:
                self._heads().reweigh(row.index, weight)
                logger.info("upstream %s has weight %d on request", shown, weight)

    def _heads(self) -> Heads:
        assert self._table is not None  # there is somebody of that name
        return self._table.heads

    def _find(self, name: str, what: str) -> list[tuple[EndpointRow, str]]:
        return find_rows(self.book, self._rows(), name, what)

    def _note_idle_pools(self) -> None:
        """Say of a pool that all of it is drained, once."""
        rows, idle = self._rows(), set()
        for pool in self.book.pools:
            mine = [row for row in rows if row.upstream in pool.upstreams]
            if not mine or not all(row.drained for row in mine):
                continue
            idle.add(pool.number)
            if pool.number not in self._idle_pools:
                logger.warning(
                    "%s: all upstreams are drained: every request gets a 503 until one is resumed",
                    f"pool {pool.name}" if pool.name else "the proxy",
                )
        self._idle_pools = idle

    # -- what there is to see -----------------------------------------------------------------

    def waiting(self) -> int:
        """Requests that wait for room, at all pools."""
        table, numbers = self._table, self.book.pool_numbers().values()
        return 0 if table is None else sum(table.waiting(number) for number in numbers)

    def states(self) -> list[UpstreamStatus]:
        """All endpoints, in the order of the settings."""
        rows, now = self._rows(), monotonic()
        return [
            self._state(pool, upstream, row, now)
            for pool in self.book.pools
            for number, upstream in pool.upstreams.items()
            for row in rows
            if row.upstream == number
        ]

    def _state(
        self, pool: Pool, upstream: Upstream, row: EndpointRow, now: float
    ) -> UpstreamStatus:
        assert self._table is not None
        totals = self._table.totals(row.index)
        state = availability(
            drained=row.drained, down=row.down, ejected_until=row.ejected_until, now=now
        )
        return UpstreamStatus(
            address=show_address(row.address) or str(upstream),
            name=str(upstream),
            state=state.value,
            backup=upstream.backup,
            weight=row.weight,
            max=upstream.max,
            active=totals.active,
            requests=totals.requests,
            failures=totals.failures,
            retries=totals.retries,
            pool=pool.name,
        )

    def _rows(self) -> list[EndpointRow]:
        return [] if self._table is None else self._table.heads.states()

    def close(self) -> None:
        """Close the table."""
        if self._doorbell is not None:
            self._doorbell.close()
        if self._table is not None:
            self._table.close()
