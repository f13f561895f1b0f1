"""An ASGI app as a worker's service: lifespan around it, one conversation per request."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, final

from balancer.apps.asgi.asyncio_only import needs_asyncio, use_uvicorn
from balancer.apps.asgi.http import HttpCycle
from balancer.apps.asgi.lifespan import Lifespan
from balancer.apps.asgi.scope import make_scope
from balancer.apps.asgi.websocket.cycle import WebSocketCycle, converse
from balancer.apps.asgi.websocket.handshake import (
    OTHER_VERSION,
    read_handshake,
    wants_websocket,
)
from balancer.apps.asgi.websocket.registry import WebSockets
from balancer.apps.service import HttpService
from balancer.http1.errors import ClientGone, RequestError

if TYPE_CHECKING:
    import trio

    from balancer.apps.asgi.types import AsgiApp, AsgiConfig
    from balancer.http1.config import Http1Config
    from balancer.http1.exchange import Exchange
    from balancer.http1.tally import Stats

__all__ = ["AsgiService"]

logger = logging.getLogger("balancer")

DISCONNECTS = frozenset({"ClientDisconnect", "WebSocketDisconnect"})
"""Starlette's, and those of others that are modelled on it, have no common base."""
SERVER_ERROR = RequestError(500, "the server failed to answer this request")


@final
class AsgiService(HttpService):
    """Serves HTTP and WebSocket with an ASGI 3 app."""

    def __init__(self, app: AsgiApp, config: AsgiConfig, engine: Http1Config, stats: Stats) -> None:
        super().__init__(self._handle, engine, stats)
        self._app = app
        self._config = config
        self._lifespan = Lifespan(app, config)
        self._websockets = WebSockets(config.websocket)
        self.tick = self._tick
        self.resume = self._resume

    async def start(self, nursery: trio.Nursery) -> None:
        await self._lifespan.start(nursery)

    async def stop(self) -> None:
        await self._lifespan.stop()

    def _tick(self, now: float) -> None:
        self._server.tick(now)
        self._websockets.tick(self._server.now)

    def _resume(self) -> None:
        self._server.resume()
        self._websockets.resume()

    def farewell(self) -> bool:
        """Close every WebSocket with 1012, which tells the client to come back."""
        return self._websockets.farewell()

    async def _handle(self, exchange: Exchange) -> None:
        if exchange.upgrade_requested and wants_websocket(exchange.method, exchange.headers):
            await self._handle_websocket(exchange)
            return
        cycle = HttpCycle(exchange)
        scope = make_scope(exchange, self._config, self._lifespan.state)
        try:
            await self._app(scope, cycle.receive, cycle.send)
        except Exception as error:
            if cycle.failure is not None:
                raise cycle.failure from None
            if cycle.gone and _is_reaction(error):
                raise ClientGone("the client has gone") from None
            if needs_asyncio(error):
                self._log_asyncio(exchange, error)
                raise SERVER_ERROR from None
            raise
        finally:
            cycle.close()
        if cycle.failure is not None:
            raise cycle.failure

    async def _handle_websocket(self, exchange: Exchange) -> None:
        config = self._config.websocket
        try:
            handshake = read_handshake(exchange.headers, deflate=config.per_message_deflate)
        except RequestError as error:
            if error.status != 426:
                raise
            await exchange.respond(426, OTHER_VERSION, f"{error.reason}\n".encode())
            return
        if not exchange.body_read:
            raise RequestError(400, "a WebSocket handshake has no body")
        scope = make_scope(exchange, self._config, self._lifespan.state, websocket=True)
        offered = (*scope["subprotocols"],)
        cycle = WebSocketCycle(exchange, handshake, offered, self._websockets)
        judge = partial(self._judge, exchange, cycle)
        await converse(self._app, scope, cycle, judge)

    def _judge(
        self, exchange: Exchange, cycle: WebSocketCycle, error: Exception
    ) -> Exception | None:
        """What becomes of an app's exception: the engine's 500 before accept, a log line after."""
        if cycle.gone and _is_reaction(error):
            return None if cycle.accepted else ClientGone("the client has gone")
        asyncio = needs_asyncio(error)
        if asyncio:
            self._log_asyncio(exchange, error)
        if not cycle.accepted:
            return SERVER_ERROR if asyncio else error
        if not asyncio:
            target = exchange.target.decode("latin-1")
            logger.error(
                "the app failed on WebSocket %s (request %s)",
                target,
                exchange.request_id,
                exc_info=error,
            )
        return None

    def _log_asyncio(self, exchange: Exchange, error: Exception) -> None:
        logger.error(
            "app %s: %s %s (request %s): %s",
            self._config.name,
            exchange.method,
            exchange.target.decode("latin-1"),
            exchange.request_id,
            use_uvicorn(error),
        )


def _is_reaction(error: BaseException | None) -> bool:
    """Whether an app's exception says no more than that its client has gone."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup):
            return all(map(_is_reaction, error.exceptions))
        if isinstance(error, OSError) or type(error).__name__ in DISCONNECTS:
            return True
        error = error.__cause__ or error.__context__
    return False
