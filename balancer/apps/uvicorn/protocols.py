"""uvicorn's protocol classes, as far as this server has to see into them.

A connection is a transport whose protocol is first uvicorn's HTTP class, and after an upgrade its
WebSocket class; asyncio tells the last one, and only that, that the connection is lost.  Both
classes get a mixin that passes this on.  Beyond asyncio's protocol methods, this is what is used of
uvicorn, the same from 0.30 to 0.54 and for h11 and httptools:

* ``app``, which is called for every request; ``scope``, of the head that is being read or was
  last; h11's connection, ``conn``, and httptools' ``url`` and ``headers`` so far;
* ``cycle``, the request in progress or the last one, with ``scope``, ``default_headers``,
  ``response_complete`` and ``disconnected``;
* ``shutdown()``: close if idle, else after the response (HTTP); close with 1012 (WebSocket);
* ``send_400_response(msg)``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, cast

import h11

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from balancer.apps.uvicorn.front import Front

__all__ = ["HttpConnection", "Keeper", "WebSocketConnection", "http_class", "ws_class"]


class Keeper(Protocol):
    """Whoever keeps the connections."""

    def made(self, transport: asyncio.BaseTransport, sock: socket.socket) -> None:
        """A connection is being served."""

    def lost(self, transport: asyncio.BaseTransport) -> None:
        """A connection has ended; its socket is still open."""


class WebSocketConnection(Protocol):
    """What is used of uvicorn's WebSocket protocols."""

    transport: asyncio.Transport

    def shutdown(self) -> None: ...


class HttpConnection(asyncio.Protocol):
    """The mixin for uvicorn's HTTP protocol: its app is the front, and heads are waited for.

    Nothing is done for bytes that come, which they do for every request: whether a head has begun
    is looked up when somebody asks.
    """

    keeper: Keeper
    sock: socket.socket
    front: Front
    max_requests: int
    # uvicorn's
    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    cycle: Any
    scope: Any
    headers: list[tuple[bytes, bytes]] | None
    shutdown: Callable[[], None]
    send_400_response: Callable[[str], None]

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(**kwargs)
        self.left = self.max_requests
        self.app = self.front.of(self)
        self._head_since: float | None = None

    @property
    def answering(self) -> bool:
        """Whether the app has a request that it hasn't answered in full."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def head_begun(self) -> bool:
        """Whether a part of a head has come."""
        cycle = self.cycle
        if self.scope is not (None if cycle is None else cycle.scope):  # httptools has begun one
            return True
        conn: h11.Connection | None = getattr(self, "conn", None)
        return conn is not None and conn.their_state is h11.IDLE and bool(conn.trailing_data[0])

    @property
    def head_size(self) -> int:
        """Bytes of the fields that have come of the head so far; h11 has a limit of its own."""
        return len(getattr(self, "url", b"")) + sum(len(a) + len(b) for a, b in self.headers or ())

    def head_age(self, now: float) -> float:
        """Seconds since a head was first seen to be waited for; 0.0: none is."""
        if self.answering or not (self.cycle is None or self.head_begun):
            self._head_since = None
            return 0.0
        if self._head_since is None:
            self._head_since = now
        return now - self._head_since

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.keeper.made(transport, self.sock)
        self._head_since = self.loop.time()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            super().connection_lost(exc)
        finally:
            self.keeper.lost(self.transport)


class _WebSocketMixin(asyncio.Protocol):
    keeper: Keeper
    transport: asyncio.Transport

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            super().connection_lost(exc)
        finally:
            self.keeper.lost(self.transport)


def http_class(
    base: type[asyncio.Protocol], keeper: Keeper, front: Front, *, max_requests: int
) -> type[HttpConnection]:
    """uvicorn's HTTP class with the mixin."""
    own = {"keeper": keeper, "front": front, "max_requests": max_requests}
    return cast("type[HttpConnection]", type("HttpConnection", (HttpConnection, base), own))


def ws_class(base: type[asyncio.Protocol], keeper: Keeper) -> type[asyncio.Protocol]:
    """uvicorn's WebSocket class with its mixin."""
    return type("WebSocketConnection", (_WebSocketMixin, base), {"keeper": keeper})
