"""A new connection to an endpoint of the table, ready for requests."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast, final

from balancer.upstream.connection import UpstreamConnection
from balancer.upstream.handshake import TlsTarget, make_context, open_transport

if TYPE_CHECKING:
    import ssl
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
        timeout: Seconds for a connection, TLS's handshake included.
        context: Of ``make_context``, for ``https://``; None: one that trusts the system's
            authorities, made when it is needed.
    """

    def __init__(
        self,
        transport: Callable[[socket.socket], Transport],
        limits: Http1Config,
        clock: Clock,
        open_ones: set[UpstreamConnection],
        timeout: float,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._transport = transport
        self._limits = limits
        self._clock = clock
        self._open_ones = open_ones
        self._timeout = timeout
        self._context = context
        self._targets: dict[int, tuple[object, TlsTarget]] = {}

    async def __call__(self, row: EndpointRow, upstream: Upstream) -> UpstreamConnection:
        """A connection, the caller's.

        Raises:
            UpstreamError: there is none.
        """
        family, target = row.address
        if family == socket.AF_UNIX:
            target = cast("str", upstream.path)
        transport = await open_transport(
            cast("Address", (socket.AddressFamily(family), target)),
            self._timeout,
            self._transport,
            self._target(row, upstream) if upstream.scheme == "https" else None,
        )
        return UpstreamConnection(transport, row.index, self._limits, self._clock, self._open_ones)

    def _target(self, row: EndpointRow, upstream: Upstream) -> TlsTarget:
        """The one of a row: the same as long as the row stands for the same server."""
        place = row.address, upstream.host
        known = self._targets.get(row.index)
        if known is not None and known[0] == place:
            return known[1]
        if self._context is None:
            self._context = make_context(None, verify=True)
        made = TlsTarget(self._context, upstream.host)
        self._targets[row.index] = place, made
        return made
