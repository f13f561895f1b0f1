"""``--request-timeout`` around an ASGI app on asyncio; what it means is as in ``http1.limit``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, final

from balancer.http1.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from balancer.apps.asgi.types import AsgiApp, Message, Receive, Scope, Send

__all__ = ["TimedOut", "limited"]


@final
class TimedOut(Exception):  # noqa: N818 - no more an error than a 504 is
    """A request was cancelled because it took too long; ``answer`` is what its client gets."""

    answer: ClassVar = RequestError(504, "the app took longer to answer than this server waits")


def limited(app: AsgiApp, seconds: float) -> AsgiApp:
    """The app, whose responses must have ended so many seconds after they were asked for.

    What it does after that delays nobody.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        def watching(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
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
