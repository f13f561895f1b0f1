"""uvicorn's protocol classes, as far as this server has to see into them.

A connection is a transport whose protocol is first uvicorn's HTTP class, and after an upgrade its
WebSocket class; asyncio tells the last one, and only that, that the connection is lost.  Both
classes get a mixin that passes this on.  Beyond asyncio's protocol methods, this is what is used of
uvicorn, the same from 0.30 to 0.54 and for h11 and httptools:

* ``cycle``, the request in progress or the last one, with ``response_complete``, ``more_body``,
  ``default_headers`` and ``keep_alive``;
* ``shutdown()``: close if idle, else after the response (HTTP); close with 1012 (WebSocket);
* ``send_400_response(msg)``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["CLOSE", "HttpConnection", "Keeper", "WebSocketConnection", "http_class", "ws_class"]

CLOSE = (b"connection", b"close")


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
    """The mixin for uvicorn's HTTP protocol: when did a head begin, and is its request the last?

    ``head_since`` is what the time of a head is counted from: of the first one from the beginning
    of the connection.  It is None during a request, and until the next one begins.
    """

    keeper: Keeper
    sock: socket.socket
    max_head: int
    max_requests: int
    # uvicorn's
    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    cycle: Any
    shutdown: Callable[[], None]
    send_400_response: Callable[[str], None]

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(**kwargs)
        self._feed = super().data_received  # bound once: it runs for every request
        self._left = self.max_requests
        self.head_since: float | None = None
        self._head_bytes = 0

    @property
    def idle(self) -> bool:
        """Whether no request is in progress or on its way, as far as has been read."""
        return not (self._head_bytes or self.answering)

    @property
    def answering(self) -> bool:
        """Whether the app has a request that it hasn't answered in full."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.keeper.made(transport, self.sock)
        self.head_since = self.loop.time()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        self._feed(data)
        cycle = self.cycle
        if cycle is not before:
            if self.head_since is not None:
                self.head_since = None
                self._head_bytes = 0
            self._left -= 1
            if self._left <= 0:
                # the app has not run yet, so the response can still say so
                cycle.default_headers = [*cycle.default_headers, CLOSE]
        elif before is None or (before.response_complete and not before.more_body):
            self._head_part(len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            super().connection_lost(exc)
        finally:
            self.keeper.lost(self.transport)

    def _head_part(self, size: int) -> None:
        """Bytes have come between two requests, and no request of them."""
        if self.head_since is None:
            self.head_since = self.loop.time()
        self._head_bytes += size
        if self._head_bytes <= self.max_head or self.transport.is_closing():
            return
        if self.transport.get_protocol() is self:  # else it was a handshake: a WebSocket's by now
            self.send_400_response("The request's head is too large.")


class _WebSocketMixin(asyncio.Protocol):
    keeper: Keeper
    transport: asyncio.Transport

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            super().connection_lost(exc)
        finally:
            self.keeper.lost(self.transport)


def http_class(
    base: type[asyncio.Protocol], keeper: Keeper, *, max_head: int, max_requests: int
) -> type[HttpConnection]:
    """uvicorn's HTTP class with the mixin."""
    own = {"keeper": keeper, "max_head": max_head, "max_requests": max_requests}
    return cast("type[HttpConnection]", type("HttpConnection", (HttpConnection, base), own))


def ws_class(base: type[asyncio.Protocol], keeper: Keeper) -> type[asyncio.Protocol]:
    """uvicorn's WebSocket class with its mixin."""
    return type("WebSocketConnection", (_WebSocketMixin, base), {"keeper": keeper})
