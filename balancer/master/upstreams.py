"""The servers behind, as the master sees them: their table, which workers and watcher share.

The master decides nothing here.  It makes the table, gives each worker a row of it before it
starts, and says when a worker is dead, so that what it had in progress counts no more.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, final

from balancer.core.control import UpstreamStatus
from balancer.core.health import availability
from balancer.net.doorbell import Doorbell
from balancer.net.endpoints import EndpointTable
from balancer.net.endpoints.address import show_address
from balancer.settings import parse_upstream
from balancer.upstream.handshake import make_context
from balancer.upstream.placement import place_all, resolve

if TYPE_CHECKING:
    from balancer.net.endpoints import EndpointRow
    from balancer.settings import Settings

__all__ = ["Upstreams"]

logger = logging.getLogger("balancer")


@final
class Upstreams:
    """The endpoints' table; owns it.

    Raises:
        UsageError: an upstream has no address, or the certificates to trust can't be read.
    """

    def __init__(self, settings: Settings) -> None:
        self.upstreams = [parse_upstream(text) for text in settings.upstreams]
        if settings.upstream_ca or any(each.scheme == "https" for each in self.upstreams):
            where = settings.where("upstream_ca")  # the workers': here it is only tried
            make_context(settings.upstream_ca, verify=settings.upstream_verify, where=where)
        found = resolve(self.upstreams, settings.where("upstreams"))
        self.table = EndpointTable.create()
        for sentence in place_all(self.table, self.upstreams, found):
            logger.warning("%s", sentence)
        self._doorbell = Doorbell(self.table.fd)

    def admit(self, row: int) -> None:
        """A worker is about to start."""
        self.table.admit(row)

    def bury(self, row: int) -> None:
        """A worker is dead; what it had may be the room that another one's request waits for."""
        self.table.depart(row)
        oldest = self.table.oldest_waiter()
        if oldest is not None:
            self._doorbell.ring(oldest)

    def states(self) -> list[UpstreamStatus]:
        """All endpoints, in the order of the command line."""
        rows = sorted(self.table.heads.states(), key=lambda row: (row.upstream, row.index))
        now = monotonic()
        return [self._state(row, now) for row in rows]

    def _state(self, row: EndpointRow, now: float) -> UpstreamStatus:
        upstream = self.upstreams[row.upstream]
        totals = self.table.totals(row.index)
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
        )

    def close(self) -> None:
        """Close the table."""
        self._doorbell.close()
        self.table.close()
