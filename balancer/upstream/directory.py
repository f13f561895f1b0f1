"""Who gets a request, and a connection to it: what the proxy's handler needs of the upstreams.

The handler asks for a ``Lease``, tells it how the attempt went, and gives it back.  Who is behind
this decides by policy, health and limits, counts on the machine's shared table and keeps the pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    from collections.abc import Collection

    from balancer.core.retry import Failure
    from balancer.upstream.connection import UpstreamConnection

__all__ = ["Directory", "Lease", "NoEndpoint"]


@final
class NoEndpoint(Exception):  # noqa: N818 - an answer, not a mistake
    """Nobody can take the request now; ``retry_after`` is in seconds, ``reason`` for the client."""

    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Lease(Protocol):
    """One attempt's claim on an endpoint, from the choice to the end of the answer."""

    endpoint: int
    name: str
    """The endpoint's address, for logs."""

    async def connect(self, *, fresh: bool = False) -> UpstreamConnection:
        """An idle connection, or (always, if ``fresh``) a new one; the caller's.

        Raises:
            UpstreamError: CONNECT.
        """

    def failed(self, failure: Failure) -> None:
        """The endpoint is to blame for the attempt."""

    def answered(self, status: int, seconds: float) -> None:
        """A response's head has come; a 5xx counts against the endpoint's health."""

    def end(self, connection: UpstreamConnection | None) -> None:
        """The attempt is over.  ``connection``: may be used again; its owner is the pool now."""


class Directory(Protocol):
    """The upstreams, as one worker sees them."""

    async def lease(self, key: bytes, tried: Collection[int]) -> Lease:
        """A claim on the endpoint for a request; those tried already are avoided.

        Raises:
            NoEndpoint: there is none, or the queue is full, or waiting took too long.
        """

    def may_retry(self) -> bool:
        """Whether the retry budget has room for one more."""
