"""How long a request may take: ``--request-timeout``.

The limit is for what somebody waits for.  It runs from the end of the request's head to the end of
the response: what a handler does after that delays nobody but the next request on this connection,
and a connection that has left HTTP (a WebSocket, a tunnel) may live as long as it likes.

The client gets a 504: to it this server is the gateway that the app didn't answer in time, and it
is what nginx says of a slow app, so that dashboards and alerts know it.  A 503 would say that
nothing was done, and that it can be tried again.

The time is the reaper's, which doesn't move while the worker is stopped or blocked: it is no fault
of one request that another has blocked the loop.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, final

import trio

from balancer.http1.errors import RequestError
from balancer.http1.phase import Phase

if TYPE_CHECKING:
    from balancer.http1.exchange import Exchange, Handler
    from balancer.http1.shared import Shared

__all__ = ["RequestLimit"]

logger = logging.getLogger(__name__)

TIMED_OUT = RequestError(504, "the app took longer to answer than this server waits")


@final
class RequestLimit:
    """One connection's handler, with a limit around each of its requests."""

    __slots__ = ("_deadline", "_exchange", "_handler", "_scope", "_shared")

    def __init__(self, shared: Shared, handler: Handler) -> None:
        self._shared = shared
        self._handler = handler
        self._deadline = math.inf
        self._exchange: Exchange
        self._scope: trio.CancelScope

    async def __call__(self, exchange: Exchange) -> None:
        """Handle a request; RequestError: it took too long and was cancelled."""
        seconds = self._shared.config.request_timeout
        self._exchange = exchange
        self._deadline = self._shared.now + seconds
        try:
            with trio.CancelScope() as self._scope:
                await self._handler(exchange)
        finally:
            self._deadline = math.inf
        if self._scope.cancelled_caught:
            logger.error(
                "%s %s was cancelled after %g s (--request-timeout) (request %s)",
                exchange.method,
                exchange.target.decode("latin-1"),
                seconds,
                exchange.request_id,
            )
            raise TIMED_OUT

    def check(self) -> None:
        """Time has moved: cancel the request if it is over."""
        if self._deadline <= self._shared.now:
            self._deadline = math.inf
            if self._exchange.phase not in {Phase.DONE, Phase.TUNNEL}:
                self._scope.cancel()
