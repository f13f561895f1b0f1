"""The proxy as a worker's service: an HTTP server in front, the upstreams behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from balancer.apps.proxy.handler import ProxyHandler
from balancer.apps.service import HttpService

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    import trio

    from balancer.apps.proxy.config import ProxyConfig
    from balancer.http1.config import Http1Config
    from balancer.http1.exchange import Exchange
    from balancer.http1.tally import Stats
    from balancer.http1.transport import Transport
    from balancer.net.doorbell import Doorbell
    from balancer.upstream.connection import Clock
    from balancer.upstream.endpoints import Endpoints
    from balancer.upstream.queue import Queue

__all__ = ["ProxyService"]


@final
class ProxyService(HttpService):
    """Passes requests on; owns the connections to upstreams.

    Args:
        config: What the handler needs to know.
        make: The upstreams, and the queue for them, from the server's clock and from what makes a
            transport of a socket.
        bell: Where other workers ring when there may be room; None: nobody ever has to wait.
        engine: The server's limits.
        stats: Where requests are counted.
    """

    def __init__(
        self,
        config: ProxyConfig,
        make: Callable[[Clock, Callable[[socket.socket], Transport]], tuple[Endpoints, Queue]],
        bell: Doorbell | None,
        engine: Http1Config,
        stats: Stats,
    ) -> None:
        super().__init__(_nobody, engine, stats)
        # what goes out uses the server's clock and poller, so the server comes first
        self._endpoints, self._queue = make(self._server.clock, self._server.transport)
        self.wrap(lambda _: ProxyHandler(config, self._endpoints))
        self._bell = bell
        self.tick = self._tick

    async def start(self, nursery: trio.Nursery) -> None:
        """Hear the bell."""
        if self._bell is not None:
            nursery.start_soon(self._bell.listen, self._queue.rung)

    def _tick(self, now: float) -> None:
        self._server.tick(now)
        self._endpoints.tick()

    async def stop(self) -> None:
        """Close what is idle."""
        self._endpoints.close()
        if self._bell is not None:
            self._bell.close()


async def _nobody(_: Exchange) -> None:
    """Answers nothing: there are no connections yet."""
