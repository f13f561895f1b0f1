"""Idle connections to upstreams, kept for the next request.

The newest is taken first: then the oldest are those that nobody needs, and they expire.  Every idle
connection is watched, and dropped at the first sign of life: what comes without having been asked
for is the end, or nothing that could be trusted.  The watch costs nothing, for the poller reports
edges of all its sockets anyway; what it cannot prevent is the race with an upstream that closes
while our request is on its way, which is what a retry is for (``core.retry``).

The time that a connection may be idle is below what common servers allow (Node and uvicorn 5 s).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from balancer.upstream.connection import UpstreamConnection

__all__ = ["Pool"]


@final
class Pool:
    """A worker's idle connections; owns them while they are here.

    Args:
        size: how many may be idle, over all endpoints; 0: none is kept.
        idle_timeout: seconds that one may be.
    """

    def __init__(self, size: int, idle_timeout: float) -> None:
        self._size = size
        self._idle_timeout = idle_timeout
        self._all: OrderedDict[UpstreamConnection, None] = OrderedDict()  # the oldest first
        self._by_endpoint: dict[int, list[UpstreamConnection]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def take(self, endpoint: int) -> UpstreamConnection | None:
        """An idle connection, the caller's from now on; None: there is none."""
        idle = self._by_endpoint.get(endpoint)
        while idle:
            connection = idle.pop()
            del self._all[connection]
            connection.transport.watch(None)
            if connection.usable:
                return connection
            connection.close()
        return None

    def put(self, connection: UpstreamConnection, now: float) -> None:
        """Keep a connection whose response is complete, if it can be used again."""
        if not self._size or not connection.usable:
            connection.close()
            return
        connection.idle_since = now
        self._all[connection] = None
        self._by_endpoint.setdefault(connection.endpoint, []).append(connection)
        connection.transport.watch(lambda: self._drop(connection))
        if len(self._all) > self._size:
            self._drop(next(iter(self._all)))

    def expire(self, now: float) -> None:
        """Close those that have been idle for too long."""
        late = now - self._idle_timeout
        while self._all and (oldest := next(iter(self._all))).idle_since <= late:
            self._drop(oldest)

    def forget(self, endpoint: int) -> None:
        """Close all of an endpoint that is gone, or down."""
        for connection in self._by_endpoint.pop(endpoint, []):
            del self._all[connection]
            connection.close()

    def close(self) -> None:
        """Close all of them."""
        for endpoint in list(self._by_endpoint):
            self.forget(endpoint)

    def _drop(self, connection: UpstreamConnection) -> None:
        del self._all[connection]
        self._by_endpoint[connection.endpoint].remove(connection)
        connection.close()
