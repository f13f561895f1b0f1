"""The rows of one pool, by upstream: who is placed and who is removed.

What an operator has said of an upstream holds for addresses that it gets later, too.  That is read
from its rows, and written down nowhere else: when all of them are drained, so is a new one.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Protocol, final

from balancer.net.endpoints.address import show_address
from balancer.upstream.placement import canonical, has_name, reconcile, shared

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from balancer.net.endpoints import Address, EndpointRow, EndpointTable
    from balancer.settings.upstream import Upstream

__all__ = ["Audience", "Roll"]

logger = logging.getLogger("balancer")


class Audience(Protocol):
    """Hears of endpoints that come and go."""

    def placed(self, row: EndpointRow) -> None:
        """There is a new one."""

    def removed(self, row: EndpointRow) -> None:
        """One is gone."""


@final
class Roll:
    """Places and removes a pool's rows; nobody else does while the watcher runs.

    Args:
        table: The table, which must stay open.
        upstreams: The pool's, by the numbers that rows refer to them by.
        prefix: What names begin with in the log.
    """

    def __init__(
        self, table: EndpointTable, upstreams: Mapping[int, Upstream], prefix: str = ""
    ) -> None:
        self.upstreams = upstreams
        self._prefix = prefix
        self.audience: Audience | None = None
        self._table = table
        self._refused: dict[int, frozenset[Address]] = {}  # what was said of an upstream last

    def rows(self) -> list[EndpointRow]:
        """The endpoints; those of upstreams that were taken away are the master's to remove."""
        return [row for row in self._table.heads.states() if row.upstream in self.upstreams]

    def addresses(self, number: int) -> list[Address]:
        """Those that an upstream has rows for."""
        return [row.address for row in self.rows() if row.upstream == number]

    def name(self, number: int) -> str:
        """An upstream, for the log."""
        return f"{self._prefix}{self.upstreams[number].text}"

    def show(self, row: EndpointRow) -> str:
        """An endpoint, for the log."""
        upstream = self.upstreams[row.upstream]
        address = show_address(row.address) or f"unix:{upstream.path}"
        if has_name(upstream):
            return f"{address} of {self.name(row.upstream)}"
        return f"{self._prefix}{address}"

    def settle(self, number: int, now: Iterable[Address]) -> None:
        """An upstream has these addresses now: make its rows those of them."""
        now = [canonical(each) for each in now]
        rows = self.rows()
        mine = {row.index: row for row in rows if row.upstream == number}
        others = {row.address for row in rows if row.upstream != number}
        change = reconcile({index: row.address for index, row in mine.items()}, now, others)
        weight, drained = self._standing(number, mine.values())
        # first the new ones, so that there is never a moment without any
        left = self._place(number, change.added, weight, drained=drained)
        for index in change.removed:
            self._table.heads.remove(index)
            if self.audience is not None:
                self.audience.removed(mine[index])
        left = self._place(number, left, weight, drained=drained)
        added = [each for each in change.added if each not in left]
        self._report(number, added, [mine[index].address for index in change.removed])
        self._complain(number, left, shared(others, now))

    def _standing(self, number: int, rows: Collection[EndpointRow]) -> tuple[int, bool]:
        """The weight of an upstream's new rows, and whether they are drained."""
        weights = {row.weight for row in rows}
        weight = weights.pop() if len(weights) == 1 else self.upstreams[number].weight
        return weight, bool(rows) and all(row.drained for row in rows)

    def _place(
        self, number: int, addresses: Iterable[Address], weight: int, *, drained: bool
    ) -> list[Address]:
        """Those that there was no room for."""
        left = []
        for address in addresses:
            now = monotonic()
            index = self._table.place(number, address, weight=weight, now=now, drained=drained)
            row = None if index is None else self._table.heads.row(index)
            if row is None:
                left.append(address)
            elif self.audience is not None:
                self.audience.placed(row)
        return left

    def _report(self, number: int, added: list[Address], removed: list[Address]) -> None:
        changes = [f"+ {show_address(each)}" for each in added]
        changes += [f"- {show_address(each)}" for each in removed]
        if changes:
            shown = ", ".join(changes)
            logger.info("upstream %s has other addresses: %s", self.name(number), shown)

    def _complain(self, number: int, no_room: list[Address], foreign: list[Address]) -> None:
        """What has become of addresses that got no row, once for as long as it stays so."""
        refused = frozenset([*no_room, *foreign])
        if refused == self._refused.get(number, frozenset()):
            return
        self._refused[number] = refused
        name = self.name(number)
        if no_room:
            shown = ", ".join(map(show_address, no_room))
            logger.warning("upstream %s: there is no room for %s", name, shown)
        if foreign:
            shown = ", ".join(map(show_address, foreign))
            logger.warning("upstream %s: another upstream's already: %s", name, shown)
