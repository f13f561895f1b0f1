"""The probe that connects, and the address that probes connect to."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast, final

from balancer.upstream.connect import connect
from balancer.upstream.errors import UpstreamError

if TYPE_CHECKING:
    from balancer.net.endpoints import EndpointRow
    from balancer.settings.upstream import Upstream
    from balancer.upstream.connect import Address

__all__ = ["Ask", "TcpProbe", "dial"]


Ask = Callable[["EndpointRow", "Upstream"], Awaitable[str | None]]
"""A probe: None when it passed, or else why not."""


async def dial(row: EndpointRow, upstream: Upstream, seconds: float) -> socket.socket:
    """A connection to an endpoint, the caller's; UpstreamError where there is none."""
    family, target = row.address
    if family == socket.AF_UNIX:
        target = cast("str", upstream.path)
    return await connect(cast("Address", (socket.AddressFamily(family), target)), seconds)


@final
class TcpProbe:
    """Passes where somebody listens; ``timeout`` is in seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    async def __call__(self, row: EndpointRow, upstream: Upstream) -> str | None:
        """Connect, and say nothing."""
        try:
            (await dial(row, upstream, self._timeout)).close()
        except UpstreamError as error:
            return error.reason
        return None
