"""One attempt's claim on an endpoint, and what its outcome says of the endpoint's health."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from balancer.core.retry import Failure

if TYPE_CHECKING:
    from balancer.upstream.connection import UpstreamConnection
    from balancer.upstream.endpoints import Endpoints

__all__ = ["EndpointLease"]

SWITCHING = 101
SERVER_ERROR = 500


@final
class EndpointLease:
    """As in ``directory.Lease``; made by ``Endpoints``, which has counted it already."""

    __slots__ = ("_endpoints", "_sound", "endpoint", "name", "token")

    def __init__(self, endpoints: Endpoints, endpoint: int, name: str, token: bytes) -> None:
        self._endpoints = endpoints
        self._sound = False
        """It has answered, and nothing is known to be wrong with that."""
        self.endpoint = endpoint
        self.name = name
        self.token = token

    def idle(self) -> UpstreamConnection | None:
        """A connection that has been used before; None: there is none."""
        return self._endpoints.pool.take(self.endpoint)

    async def connect(self) -> UpstreamConnection:
        """A new connection.

        Raises:
            UpstreamError: CONNECT.
        """
        return await self._endpoints.dial(self.endpoint)

    def failed(self, failure: Failure) -> None:
        """The endpoint is to blame, unless it was an idle connection's end, or our own shortage."""
        self._sound = False  # an answer that breaks off makes up for no failure before it
        if failure is Failure.STALE:
            self._endpoints.view.stale(self.endpoint)
        elif failure is not Failure.SHORTAGE:
            self._endpoints.blame(self.endpoint)

    def answered(self, status: int, seconds: float) -> None:
        """A response's head has come."""
        endpoints = self._endpoints
        if endpoints.uses_latency:
            endpoints.observe(self.endpoint, seconds)
        self._sound = status < SERVER_ERROR
        if not self._sound:
            endpoints.blame(self.endpoint)
        elif status == SWITCHING:  # the end of a tunnel may be hours away, and says nothing
            endpoints.view.succeeded(self.endpoint)

    def end(self, connection: UpstreamConnection | None) -> None:
        """The attempt is over."""
        endpoints = self._endpoints
        if connection is not None:
            endpoints.keep(connection)
        if self._sound:
            endpoints.view.succeeded(self.endpoint)
        endpoints.release(self.endpoint)
