"""The rows of the table, by upstream: who is placed and who is removed."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Protocol, final

from balancer.net.endpoints.address import show_address
from balancer.upstream.placement import canonical, has_name, reconcile, shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    """Changes the table's rows; nobody else does once the watcher runs.

    Args:
        table: The table, which must stay open.
        upstreams: Those that the rows refer to.
    """

    def __init__(self, table: EndpointTable, upstreams: Sequence[Upstream]) -> None:
        self.upstreams = upstreams
        self.audience: Audience | None = None
        self._table = table
        self._refused: dict[int, frozenset[Address]] = {}  # what was said of an upstream last

    def rows(self) -> list[EndpointRow]:
        """All endpoints."""
        return self._table.heads.states()

    def addresses(self, number: int) -> list[Address]:
        """Those that an upstream has rows for."""
        return [row.address for row in self.rows() if row.upstream == number]

    def show(self, row: EndpointRow) -> str:
        """An endpoint, for the log."""
        upstream = self.upstreams[row.upstream]
        address = show_address(row.address) or f"unix:{upstream.path}"
        return f"{address} of {upstream.text}" if has_name(upstream) else address

    def settle(self, number: int, now: Iterable[Address]) -> None:
        """An upstream has these addresses now: make its rows those of them."""
        now = [canonical(each) for each in now]
        rows = self.rows()
        mine = {row.index: row for row in rows if row.upstream == number}
        others = {row.address for row in rows if row.upstream != number}
        change = reconcile({index: row.address for index, row in mine.items()}, now, others)
        # first the new ones, so that there is never a moment without any
        left = self._place(number, change.added)
        for index in change.removed:
            self._table.heads.remove(index)
            if self.audience is not None:
                self.audience.removed(mine[index])
        left = self._place(number, left)
        added = [each for each in change.added if each not in left]
        self._report(number, added, [mine[index].address for index in change.removed])
        self._complain(number, left, shared(others, now))

    def _place(self, number: int, addresses: Iterable[Address]) -> list[Address]:
        """Those that there was no room for."""
        left = []
        for address in addresses:
            weight = self.upstreams[number].weight
            index = self._table.place(number, address, weight=weight, now=monotonic())
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
            text = self.upstreams[number].text
            logger.info("upstream %s has other addresses: %s", text, ", ".join(changes))

    def _complain(self, number: int, no_room: list[Address], foreign: list[Address]) -> None:
        """What has become of addresses that got no row, once for as long as it stays so."""
        refused = frozenset([*no_room, *foreign])
        if refused == self._refused.get(number, frozenset()):
            return
        self._refused[number] = refused
        text = self.upstreams[number].text
        if no_room:
            names = ", ".join(map(show_address, no_room))
            logger.warning("upstream %s: there is no room for %s", text, names)
        if foreign:
            names = ", ".join(map(show_address, foreign))
            logger.warning("upstream %s: another upstream's already: %s", text, names)
