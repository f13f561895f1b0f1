"""The exchange of a server that keeps an access log, which is to know what was sent.

A class of its own, so that a server without one pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from balancer.http1.errors import RequestError
from balancer.http1.exchange import Exchange
from balancer.http1.heads import parse_head
from balancer.http1.phase import DONE

if TYPE_CHECKING:
    from balancer.http1.config import Http1Config
    from balancer.http1.head import Head
    from balancer.http1.responses import Fields, ResponseHead

__all__ = ["FullyLoggedExchange", "LoggedExchange", "try_to_parse"]


class LoggedExchange(Exchange):
    """An exchange that knows how long its response's body was: a core.accesslog ``Answer``."""

    __slots__ = ("_counted", "_sent_head")

    @property
    def body_bytes(self) -> int:
        """Bytes of the response's body, without framing, up to now."""
        if self.phase is DONE:
            return (self._left or 0) if self._has_body else 0
        return getattr(self, "_counted", 0)

    @property
    def sent_head(self) -> bytes:
        """The response's head, if it was kept."""
        return getattr(self, "_sent_head", b"")

    async def start(self, status: int, headers: Fields | ResponseHead = ()) -> None:
        await super().start(status, headers)
        self._counted = 0

    async def write(self, data: bytes) -> None:
        await super().write(data)
        self._counted += len(data)

    async def finish(self, trailers: Fields = ()) -> None:
        await super().finish(trailers)
        self._left = self._counted  # as if it had come in one piece: nothing else reads it now

    def answered(self, head: bytes, body: bytes) -> None:
        """The engine has answered for the handler."""
        self._sent_head = head
        self._counted = len(body)


@final
class FullyLoggedExchange(LoggedExchange):
    """One that also keeps the response's head, where the format asks for fields of it."""

    __slots__ = ()

    def _open(
        self, status: int, fields: Fields | ResponseHead, body: bytes | None
    ) -> tuple[bytes, ...]:
        pieces = super()._open(status, fields, body)
        self._sent_head = b"".join(pieces)
        return pieces


def try_to_parse(buffer: bytes, limits: Http1Config) -> Head | None:
    """What can be told of a refused request: it may have been refused for its size alone."""
    try:
        return parse_head(buffer, limits)
    except RequestError:
        return None
