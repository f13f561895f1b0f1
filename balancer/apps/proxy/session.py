"""What the proxy remembers of a client's connection from one request to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

from balancer.apps.proxy.forward import Client, Forwarder

if TYPE_CHECKING:
    from balancer.apps.proxy.forward import ForwardConfig
    from balancer.http1.exchange import Exchange

__all__ = ["Session"]


class Interruptible(Protocol):
    """What a request waits for: a connection to an upstream, or a place in the queue."""

    def abandon(self) -> None:
        """Nobody wants it any more."""


@final
class Session:
    """A client's connection: whose it is, and what its request in progress waits for.

    A client that leaves while nobody reads from it is noticed here, and what was begun for it is
    abandoned.  An end behind other requests is no abort: it may be waiting for all of the answers.
    """

    __slots__ = ("_exchange", "_waits_for", "forwarder", "host")

    def __init__(self, client: Client, config: ForwardConfig) -> None:
        self.forwarder = Forwarder(client, config)
        self.host = client.host
        self._exchange: Exchange | None = None
        self._waits_for: Interruptible | None = None

    @classmethod
    def of(cls, exchange: Exchange, config: ForwardConfig) -> Session:
        """That of a connection whose first request this is."""
        client, server = exchange.client, exchange.server
        host = client[0] if isinstance(client, tuple) else None
        port = server[1] if isinstance(server, tuple) else 0
        made = cls(Client(host, exchange.scheme, port), config)
        exchange.client_transport.watch(made.stirs)
        return made

    def busy(self, exchange: Exchange, waits_for: Interruptible) -> None:
        """A request waits for something, which is abandoned if the client has left, or leaves."""
        again = self._waits_for is not None
        self._exchange = exchange
        self._waits_for = waits_for
        if again:  # it may have left when nobody looked
            self.stirs()

    def rest(self) -> None:
        """It has its answer."""
        self._exchange = None  # which refers to the connection, and that to this
        self._waits_for = None

    def stirs(self) -> None:
        """Bytes or an end have come from the client while nobody waits for them."""
        exchange, waits_for = self._exchange, self._waits_for
        if (
            exchange is not None
            and waits_for is not None
            and exchange.client_transport.ended
            and not exchange.client_pipelines()
        ):
            waits_for.abandon()
