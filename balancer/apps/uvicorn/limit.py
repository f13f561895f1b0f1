"""``--request-timeout`` around an ASGI app on asyncio; what it means is as in ``http1.limit``."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, final

from balancer.http1.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from balancer.apps.asgi.types import AsgiApp, Message, Receive, Scope, Send

__all__ = ["TimedOut", "limited"]

LAST = {
    "http.response.body",
    "websocket.accept",
    "websocket.close",
    "websocket.http.response.body",
}
"""What ends a response, unless it says that there is more."""


@final
class TimedOut(Exception):  # noqa: N818 - no more an error than a 504 is
    """A request was cancelled because it took too long; ``answer`` is what its client gets."""

    answer: ClassVar = RequestError(504, "the app took longer to answer than this server waits")


def limited(app: AsgiApp, seconds: float) -> AsgiApp:
    """The app, whose responses must have ended so many seconds after they were asked for.

    What it does after that delays nobody, and a WebSocket may live as long as it likes.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        def watching(message: Message) -> Awaitable[None]:
            if message["type"] in LAST and not message.get("more_body", False):
                with suppress(RuntimeError):  # it is over already, and so may the call be
                    timeout.reschedule(None)
            return send(message)

        try:
            async with asyncio.timeout(seconds) as timeout:
                await app(scope, receive, watching)
        except TimeoutError:
            if timeout.expired():
                raise TimedOut(f"after {seconds:g} s (--request-timeout)") from None
            raise

    return call
