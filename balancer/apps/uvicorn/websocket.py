"""One WebSocket: the app behind a counter, and told who its client is.

The call is uvicorn's, and so is what becomes of a failure.  It is counted when its handshake is
answered, for how long it lives says nothing of the server; the access log has a line at its end.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache, partial
from time import perf_counter
from typing import TYPE_CHECKING

from balancer.apps.uvicorn.asked import ask
from balancer.apps.uvicorn.cycle import STATUSES
from balancer.apps.uvicorn.front import EXTENSION
from balancer.apps.uvicorn.watch import Seen
from balancer.core.forwarded import FIELDS
from balancer.core.logrecord import CLOSED, PlainAnswer, Record

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from balancer.apps.asgi.types import AsgiApp, Message, Receive, Scope, Send
    from balancer.apps.uvicorn.front import Front

__all__ = ["serve_websockets"]

HANDSHAKE = {"websocket.accept": 101, "websocket.close": 403}
FAILED = 500


def serve_websockets(front: Front) -> AsgiApp:
    """What uvicorn's WebSocket class takes for the app."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        client, headers = scope["client"], scope["headers"]
        request = ask(scope, front.root)
        if front.watcher is not None:
            watch = front.watcher.begin(Seen(request, client))
        name = lru_cache(1)(partial(front.choose_id, headers, client))
        scope["extensions"] = {**scope.get("extensions", {}), EXTENSION: {"get": name}}
        if not FIELDS.isdisjoint(dict(headers)):
            front.introduce(scope)
        status = 0

        def count(answered: int) -> None:
            nonlocal status
            status = answered
            front.tally.add(status, perf_counter() - began, 0, 0)

        def send_counted(message: Message) -> Awaitable[None]:
            if not status:
                said = HANDSHAKE.get(message["type"]) or message.get("status")
                count(said if said in STATUSES else FAILED)
            return send(message)

        try:
            await front.app(scope, receive, send_counted)
        except asyncio.CancelledError:
            if not front.cutting:
                raise
        finally:
            if not status:
                count(FAILED)
            if front.watcher is not None:
                front.watcher.end(watch, status)
            if front.access is not None:
                now = perf_counter()
                answer = PlainAnswer(status, 0, name())
                front.access.add(Record(request, answer, now - began, now, client, CLOSED))

    return call
