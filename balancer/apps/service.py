"""What a worker runs: an app, and the server that speaks its protocol on the connections.

The worker knows connections, the master and time; a ``Service`` knows what to do with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from balancer.http1.server import Http1Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    import trio

    from balancer.http1.config import Http1Config
    from balancer.http1.exchange import Handler
    from balancer.http1.tally import Stats

__all__ = ["Host", "HttpService", "Service"]


class Host(Protocol):
    """What a worker does for its service; called from the event loop."""

    def seats(self, free: int) -> None:
        """So many more requests can begin now: without one, others get the connections.

        A service that never calls this can always begin one more.
        """

    def leave(self, reason: str) -> None:
        """Ask the master for a successor, and to be drained when that is ready; idempotent."""

    def give_up(self) -> None:
        """What runs and can't be stopped is not to be waited for when the process ends."""


class Service(Protocol):
    """Serves connections with an app, from ``start`` to ``stop``."""

    async def start(self, nursery: trio.Nursery) -> None:
        """Get the app ready; what has to run as long as it does may run in the nursery.

        Raises:
            AppError: the app can't start, and why, for a person.
        """

    def open(self, nursery: trio.Nursery) -> None:
        """The nursery of the connections is there: from now on ``serve`` is called."""

    def serve(self, sock: socket.SocketType) -> Coroutine[Any, Any, None]:
        """Serve one connection to its end; owns and closes the socket; raises nothing.

        The coroutine may park: it has to be driven by ``http1.inline``.
        """

    def tick(self, now: float) -> None:
        """Time has moved: expire what has to; called about every 0.25 seconds."""

    def drain(self) -> None:
        """Let every connection end as soon as it may; idempotent."""

    def resume(self) -> None:
        """There is no drain any more: connections may stay; idempotent."""

    def farewell(self) -> bool:
        """The drain's time is over: begin to end what is left politely; False if nothing will."""

    async def stop(self) -> None:
        """Let the app finish, after the last connection; the caller gives it so much time."""


class HttpService:
    """HTTP/1.1 for one handler that needs no start and no stop; others build on it."""

    def __init__(self, handler: Handler, config: Http1Config, stats: Stats) -> None:
        self._server = Http1Server(handler, config, stats)
        self.open = self._server.open
        self.serve = self._server.serve
        self.tick = self._server.tick
        self.drain = self._server.drain
        self.resume = self._server.resume

    def wrap(self, around: Callable[[Handler], Handler]) -> None:
        """Put something around the handler, for connections to come."""
        self._server.wrap(around)

    async def start(self, nursery: trio.Nursery) -> None:
        """Nothing to do."""

    def farewell(self) -> bool:
        """HTTP has no word for it: a response that takes too long is cut."""
        return False

    async def stop(self) -> None:
        """Nothing to do."""
