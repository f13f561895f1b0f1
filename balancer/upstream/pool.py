"""Idle connections to upstreams, kept for the next request.

The newest is taken first: then the oldest are those that nobody needs, and they expire.  Every idle
connection is watched, and dropped at the first sign of life: what comes without having been asked
for is the end, or nothing that could be trusted.  The watch costs nothing, for the poller reports
edges of all its sockets anyway; what it cannot prevent is the race with an upstream that closes
while our request is on its way, which is what a retry is for (``core.retry``).

The time that a connection may be idle is below what common servers allow (Node and uvicorn 5 s).
"""

from __future__ import annotations

from functools import partial
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
        self._count = 0
        self._by_endpoint: dict[int, list[UpstreamConnection]] = {}  # the oldest first

    def __len__(self) -> int:
        return self._count

    def take(self, endpoint: int) -> UpstreamConnection | None:
        """An idle connection, the caller's from now on; None: there is none."""
        idle = self._by_endpoint.get(endpoint)
        while idle:
            connection = idle.pop()
            connection.idle = False
            self._count -= 1
            if connection.usable:
                return connection
            connection.close()
        return None

    def put(self, connection: UpstreamConnection, now: float) -> None:
        """Keep a connection whose response is complete, if it can be used again."""
        if not self._size or not connection.usable:
            connection.close()
            return
        connection.idle = True
        connection.idle_since = now
        if not connection.watched:  # once for its whole life: it is looked at ``idle`` then
            connection.watched = True
            connection.transport.watch(partial(self._stirs, connection))
        idle = self._by_endpoint.get(connection.endpoint)
        if idle is None:
            self._by_endpoint[connection.endpoint] = [connection]
        else:
            idle.append(connection)
        self._count += 1
        if self._count > self._size:
            self._drop(min(self._oldest(), key=lambda each: each.idle_since))

    def expire(self, now: float) -> None:
        """Close those that have been idle for too long."""
        late = now - self._idle_timeout
        while too_old := [each for each in self._oldest() if each.idle_since <= late]:
            for each in too_old:
                self._drop(each)

    def forget(self, endpoint: int) -> None:
        """Close all of an endpoint that is gone, or down."""
        for connection in self._by_endpoint.pop(endpoint, []):
            self._count -= 1
            connection.idle = False
            connection.close()

    def close(self) -> None:
        """Close all of them."""
        for endpoint in list(self._by_endpoint):
            self.forget(endpoint)

    def _oldest(self) -> list[UpstreamConnection]:
        """That of each endpoint."""
        return [idle[0] for idle in self._by_endpoint.values() if idle]

    def _stirs(self, connection: UpstreamConnection) -> None:
        if connection.idle:
            self._drop(connection)

    def _drop(self, connection: UpstreamConnection) -> None:
        self._by_endpoint[connection.endpoint].remove(connection)
        self._count -= 1
        connection.idle = False
        connection.close()
