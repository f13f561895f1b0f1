"""Who gets a request, and a connection to it: what the proxy's handler needs of the upstreams.

The handler asks for a ``Lease``, tells it how the attempt went, and gives it back.  Who is behind
this decides by policy, health and limits, counts on the machine's shared table and keeps the pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    from balancer.core.retry import Failure
    from balancer.upstream.connection import UpstreamConnection
    from balancer.upstream.queue import Ticket

__all__ = ["Directory", "Lease", "NoEndpoint", "Wish"]


@final
class NoEndpoint(Exception):  # noqa: N818 - an answer, not a mistake
    """Nobody can take the request now; ``retry_after`` is in seconds, ``reason`` for the client."""

    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


@final
@dataclass(frozen=True, slots=True)
class Wish:
    """What a request wants of the choice.

    Attributes:
        key: What a hash policy goes by; empty if the request has no such thing.
        prefer: What its sticky cookie says; empty if it has none.
        tried: Endpoints where it has failed already: they are avoided.
        costs: It repeats one that has cost an upstream something, and so the budget.
    """

    key: bytes = b""
    prefer: bytes = b""
    tried: tuple[int, ...] = ()
    costs: bool = False

    def elsewhere(self, endpoint: int, *, costs: bool) -> Wish:
        """The same, after it has failed there."""
        return Wish(self.key, self.prefer, (*self.tried, endpoint), costs)


class Lease(Protocol):
    """One attempt's claim on an endpoint, from the choice to the end of the answer."""

    endpoint: int
    name: str
    """The endpoint's address, for logs."""
    token: bytes
    """What a sticky cookie says to come back here."""

    def idle(self) -> UpstreamConnection | None:
        """A connection that has been used before, the caller's; None: there is none."""

    async def connect(self) -> UpstreamConnection:
        """A new connection, the caller's.

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

    def claim(self, wish: Wish) -> Lease | None:
        """A claim on the endpoint for a request; None: all of them are full, so it has to wait.

        Raises:
            NoEndpoint: there is none that could ever take it.
        """

    async def wait(self, wish: Wish, ticket: Ticket) -> Lease:
        """As ``claim``, when there is room.

        Raises:
            NoEndpoint: the queue is full, or waiting took too long, or there is none any more.
            ClientLeft: the ticket was abandoned.
        """

    def may_retry(self) -> bool:
        """Whether the retry budget has room for one more."""
