"""The app as uvicorn calls it: with its client's true address, and with every request counted.

This runs for each request, so it adds no coroutine of its own between the app and ``send``: what a
message means for the count is noted before it is passed on.  Bytes are those of bodies; what HTTP
puts around them is uvicorn's, which tells nobody.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, final

from balancer.core.forwarded import FIELDS, read_forwarded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from balancer.apps.asgi.types import AsgiApp, Message, Receive, Scope, Send
    from balancer.http1.config import Stats
    from balancer.settings import TrustedPeers

__all__ = ["Front"]

WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}
SWITCHING = 101
FORBIDDEN = 403
FAILED = 500


@final
class Front:
    """An ASGI app with its counters.

    Attributes:
        running: How many calls of the app have not returned.  One may outlive its connection: a
            background task after the response.
        cutting: The calls are being cancelled by the server, which is not the app's failure.
    """

    def __init__(
        self, app: AsgiApp, trusted: TrustedPeers, stats: Stats, returned: Callable[[], object]
    ) -> None:
        self.running = 0
        self.cutting = False
        self._app = app
        self._trusted = trusted
        self._stats = stats
        self._returned = returned

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one WebSocket."""
        if not FIELDS.isdisjoint([name for name, _ in scope["headers"]]):
            self._introduce(scope)
        kind = _Request if scope["type"] == "http" else _WebSocket
        request = kind(receive, send, self._stats)
        self.running += 1
        try:
            await self._app(scope, request.receive, request.send)
        except asyncio.CancelledError:
            if not self.cutting:
                raise
            # uvicorn would log it as the app's, and has nobody to answer any more
        except BaseException:
            request.failed()
            raise
        else:
            request.returned()
        finally:
            self.running -= 1
            self._returned()

    def _introduce(self, scope: Scope) -> None:
        """Believe a trusted proxy about the client, as the trio engine does."""
        client = scope["client"]
        origin = read_forwarded(scope["headers"], client[0] if client else None, self._trusted)
        if origin.client is not None:
            scope["client"] = origin.client
        if origin.scheme is not None:
            websocket = scope["type"] == "websocket"
            scope["scheme"] = WEBSOCKET_SCHEMES[origin.scheme] if websocket else origin.scheme


class _Call:
    """One call of the app, and whether it has been counted."""

    __slots__ = ("_began", "_bytes_in", "_bytes_out", "_receive", "_send", "_stats", "_status")

    def __init__(self, receive: Receive, send: Send, stats: Stats) -> None:
        self._receive = receive
        self._send = send
        self._stats: Stats | None = stats
        self._began = perf_counter()
        self._status = 0
        self._bytes_in = 0
        self._bytes_out = 0

    def failed(self) -> None:
        """The app has raised; uvicorn answers for it if it has not begun to."""
        self._count(self._status or FAILED)

    def returned(self) -> None:
        """The app has returned, whatever it has sent."""
        self._count(self._status)

    def _count(self, status: int) -> None:
        stats = self._stats
        if stats is not None:
            self._stats = None
            seconds = perf_counter() - self._began
            stats.request_done(status, seconds, self._bytes_in, self._bytes_out)


@final
class _Request(_Call):
    __slots__ = ("_gone",)

    def __init__(self, receive: Receive, send: Send, stats: Stats) -> None:
        super().__init__(receive, send, stats)
        self._gone = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._bytes_in += len(message["body"])
        else:
            self._gone = True
        return message

    def send(self, message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind == "http.response.body":
            self._bytes_out += len(message.get("body", b""))
            if not message.get("more_body", False):
                self._count(self._status)
        elif kind == "http.response.start":
            self._status = message["status"]
        return self._send(message)

    def returned(self) -> None:
        # without a response: uvicorn says 500, if there is anybody to hear it
        self._count(self._status or (0 if self._gone else FAILED))


@final
class _WebSocket(_Call):
    """Counted when its handshake is answered: how long it lives says nothing about the server."""

    __slots__ = ()

    async def receive(self) -> Message:
        return await self._receive()

    def send(self, message: Message) -> Awaitable[None]:
        if self._stats is not None:
            kind = message["type"]
            if kind == "websocket.accept":
                self._count(SWITCHING)
            elif kind == "websocket.close":
                self._count(FORBIDDEN)
            elif kind == "websocket.http.response.start":
                self._count(message["status"])
        return self._send(message)
