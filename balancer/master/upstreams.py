"""The servers behind, as the master sees them: their table, which workers and watcher share.

The master decides nothing here.  It makes the table, gives each worker a row of it before it
starts, and says when a worker is dead, so that what it had in progress counts no more.
"""

from __future__ import annotations

import socket
from time import monotonic
from typing import TYPE_CHECKING, Any, cast, final

from balancer.errors import UsageError
from balancer.net.doorbell import Doorbell
from balancer.net.endpoints import EndpointTable
from balancer.settings import parse_upstream

if TYPE_CHECKING:
    from balancer.net.endpoints import Address
    from balancer.settings import Settings, Upstream

__all__ = ["Upstreams"]


@final
class Upstreams:
    """The endpoints' table; owns it.

    Raises:
        UsageError: an upstream has no address.
    """

    def __init__(self, settings: Settings) -> None:
        self.upstreams = [parse_upstream(text) for text in settings.upstreams]
        found = [(each, _addresses(each, settings)) for each in self.upstreams]
        self.table = EndpointTable.create()
        self._doorbell = Doorbell(self.table.fd)
        for number, (upstream, addresses) in enumerate(found):
            for address in addresses:
                self.table.place(number, address, weight=upstream.weight, now=monotonic())

    def admit(self, row: int) -> None:
        """A worker is about to start."""
        self.table.admit(row)

    def bury(self, row: int) -> None:
        """A worker is dead; what it had may be the room that another one's request waits for."""
        self.table.depart(row)
        oldest = self.table.oldest_waiter()
        if oldest is not None:
            self._doorbell.ring(oldest)

    def close(self) -> None:
        """Close the table."""
        self._doorbell.close()
        self.table.close()


def _addresses(upstream: Upstream, settings: Settings) -> list[Address]:
    if upstream.path is not None:
        return [(socket.AF_UNIX, "")]
    try:
        found = socket.getaddrinfo(upstream.host, upstream.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(
            f"{settings.where('upstreams')} {upstream.text}: {error.strerror}"
        ) from None
    return list(dict.fromkeys((int(family), cast("Any", target)) for family, *_, target in found))
