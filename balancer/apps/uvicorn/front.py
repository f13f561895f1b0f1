"""What stands between uvicorn and the app: who the client is, and how many requests there were.

This runs for each request, and uvicorn's own share of one is some 25 us, so it is written to cost
little: closures and not objects, no coroutine between the app and ``send`` (what a message means
for the count is noted before it is passed on), and uvicorn's own note of a client that has gone.
Bytes are those of bodies as announced and as sent; what HTTP puts around them is uvicorn's, which
tells nobody.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, final

from balancer.core.forwarded import FIELDS, read_forwarded

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from balancer.apps.asgi.types import AsgiApp, Message, Receive, Scope, Send
    from balancer.http1.config import Stats
    from balancer.settings import TrustedPeers

__all__ = ["CLOSE", "Front"]

WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}
HANDSHAKE = {"websocket.accept": 101, "websocket.close": 403}
FAILED = 500
LENGTH = b"content-length"
CLOSE = (b"connection", b"close")


class HttpConnection(Protocol):
    """What is needed of a connection: its request in progress, and how many more it may bring."""

    cycle: Any  # uvicorn's RequestResponseCycle
    left: int


@final
class Front:
    """An ASGI app with its counters.

    Attributes:
        cutting: The calls are being cancelled by the server, which is not the app's failure:
            uvicorn would log it as that, and has nobody to answer any more.
    """

    def __init__(self, app: AsgiApp, trusted: TrustedPeers, stats: Stats) -> None:
        self.cutting = False
        self._app = app
        self._trusted = trusted
        self._done = stats.request_done

    def of(self, connection: HttpConnection) -> AsgiApp:
        """What answers the requests of one connection."""
        app, done = self._app, self._done

        async def request(scope: Scope, receive: Receive, send: Send) -> None:
            headers = dict(scope["headers"])
            if not FIELDS.isdisjoint(headers):
                self._introduce(scope)
            cycle = connection.cycle
            connection.left -= 1
            if connection.left <= 0:
                cycle.default_headers = [*cycle.default_headers, CLOSE]
            began = perf_counter()
            status = bytes_out = 0
            counted = False

            def send_counted(message: Message) -> Awaitable[None]:
                nonlocal status, bytes_out, counted
                if message["type"] == "http.response.body":
                    bytes_out += len(message.get("body", b""))
                    if not (counted or message.get("more_body", False)):
                        counted = True
                        size = int(headers[LENGTH]) if LENGTH in headers else 0
                        done(status, perf_counter() - began, size, bytes_out)
                else:
                    status = message.get("status", 0)
                return send(message)

            try:
                await app(scope, receive, send_counted)
            except asyncio.CancelledError:
                if not self.cutting:
                    raise
            finally:
                if not counted:
                    # it raised or just returned: uvicorn says 500, if there is anybody to hear it
                    status = status or (0 if cycle.disconnected else FAILED)
                    size = int(headers[LENGTH]) if LENGTH in headers else 0
                    done(status, perf_counter() - began, size, bytes_out)

        return request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One WebSocket.

        It is counted when its handshake is answered: how long it lives says nothing of the server.
        """
        if not FIELDS.isdisjoint(dict(scope["headers"])):
            self._introduce(scope)
        began = perf_counter()
        counted = False

        def count(status: int) -> None:
            nonlocal counted
            if not counted:
                counted = True
                self._done(status, perf_counter() - began, 0, 0)

        def send_counted(message: Message) -> Awaitable[None]:
            if not counted:
                count(HANDSHAKE.get(message["type"]) or message.get("status", 0))
            return send(message)

        try:
            await self._app(scope, receive, send_counted)
        except asyncio.CancelledError:
            if not self.cutting:
                raise
        finally:
            count(FAILED)

    def _introduce(self, scope: Scope) -> None:
        """Believe a trusted proxy about the client, as the trio engine does."""
        client = scope["client"]
        origin = read_forwarded(scope["headers"], client[0] if client else None, self._trusted)
        if origin.client is not None:
            scope["client"] = origin.client
        if origin.scheme is not None:
            websocket = scope["type"] == "websocket"
            scope["scheme"] = WEBSOCKET_SCHEMES[origin.scheme] if websocket else origin.scheme
