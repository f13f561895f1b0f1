"""A new connection to an endpoint of the table, ready for requests."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast, final

from balancer.upstream.connect import connect
from balancer.upstream.connection import UpstreamConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.http1.config import Http1Config
    from balancer.http1.transport import Transport
    from balancer.net.endpoints import EndpointRow
    from balancer.settings.upstream import Upstream
    from balancer.upstream.connect import Address
    from balancer.upstream.connection import Clock

__all__ = ["Dialer"]


@final
class Dialer:
    """Connects.

    Args:
        transport: Makes a transport of a connected socket, which it owns then.
        limits: What a response's head may be like.
        clock: That of the connections' deadlines.
        open_ones: Where all that are open are written down.
        timeout: Seconds for a connection.
    """

    def __init__(
        self,
        transport: Callable[[socket.socket], Transport],
        limits: Http1Config,
        clock: Clock,
        open_ones: set[UpstreamConnection],
        timeout: float,
    ) -> None:
        self._transport = transport
        self._limits = limits
        self._clock = clock
        self._open_ones = open_ones
        self._timeout = timeout

    async def __call__(self, row: EndpointRow, upstream: Upstream) -> UpstreamConnection:
        """A connection, the caller's.

        Raises:
            UpstreamError: there is none.
        """
        family, target = row.address
        if family == socket.AF_UNIX:
            target = cast("str", upstream.path)
        sock = await connect(cast("Address", (socket.AddressFamily(family), target)), self._timeout)
        transport = self._transport(sock)
        return UpstreamConnection(transport, row.index, self._limits, self._clock, self._open_ones)
