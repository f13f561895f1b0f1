"""An ASGI app as a worker's service: lifespan around it, one conversation per request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, final

from balancer.apps.asgi.asyncio_only import needs_asyncio, use_uvicorn
from balancer.apps.asgi.http import HttpCycle
from balancer.apps.asgi.lifespan import Lifespan
from balancer.apps.asgi.scope import make_scope
from balancer.apps.service import HttpService
from balancer.http1.errors import ClientGone, RequestError

if TYPE_CHECKING:
    import trio

    from balancer.apps.asgi.types import AsgiApp, AsgiConfig
    from balancer.http1.config import Http1Config, Stats
    from balancer.http1.exchange import Exchange

__all__ = ["AsgiService"]

logger = logging.getLogger("balancer")

SERVER_ERROR = RequestError(500, "the server failed to answer this request")


@final
class AsgiService(HttpService):
    """Serves HTTP with an ASGI 3 app."""

    def __init__(self, app: AsgiApp, config: AsgiConfig, engine: Http1Config, stats: Stats) -> None:
        super().__init__(self._handle, engine, stats)
        self._app = app
        self._config = config
        self._lifespan = Lifespan(app, config)

    async def start(self, nursery: trio.Nursery) -> None:
        await self._lifespan.start(nursery)

    async def stop(self) -> None:
        await self._lifespan.stop()

    async def _handle(self, exchange: Exchange) -> None:
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
                logger.error(
                    "app %s: %s %s: %s",
                    self._config.name,
                    exchange.method,
                    exchange.target.decode("latin-1"),
                    use_uvicorn(error),
                )
                raise SERVER_ERROR from None
            raise
        finally:
            cycle.close()
        if cycle.failure is not None:
            raise cycle.failure


def _is_reaction(error: BaseException | None) -> bool:
    """Whether an app's exception says no more than that its client has gone."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup):
            return all(map(_is_reaction, error.exceptions))
        # Starlette's, and those of others that are modelled on it, have no common base
        if isinstance(error, OSError) or type(error).__name__ == "ClientDisconnect":
            return True
        error = error.__cause__ or error.__context__
    return False
