"""A worker's HTTP/1.1 server: its connections, their reaper, and their drain."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, final

from balancer.http1.connection import Connection
from balancer.http1.polled import PolledTransport
from balancer.http1.poller import Poller
from balancer.http1.shared import Shared
from balancer.http1.tally import Tally
from balancer.http1.transport import SocketTransport

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    import trio

    from balancer.http1.config import Http1Config
    from balancer.http1.exchange import Handler
    from balancer.http1.tally import Stats
    from balancer.http1.transport import Transport

__all__ = ["Http1Server"]

LONGEST_STEP = 1.0
"""A tick that comes later than this was held up with us (a handler that blocked, SIGSTOP), and the
clients are not to blame for it: no deadline moves closer by more."""


@final
class Http1Server:
    """Serves HTTP/1.1 on the connections it is given, all with one handler."""

    def __init__(self, handler: Handler, config: Http1Config, stats: Stats) -> None:
        self._tally = Tally(stats)
        self._shared = Shared(handler, config, self._tally)
        self._shared.set_date(time.time())
        self._connections: set[Connection] = set()
        self._last_tick: float | None = None
        self._poller: Poller | None = None

    @property
    def connections(self) -> int:
        """How many connections are open, the lingering ones included."""
        return len(self._connections)

    @property
    def now(self) -> float:
        """The reaper's clock, in seconds from anywhere: all deadlines are in it."""
        return self._shared.now

    @property
    def clock(self) -> Shared:
        """What has ``now``, for who asks often."""
        return self._shared

    def wrap(self, around: Callable[[Handler], Handler]) -> None:
        """Put something around the handler, for connections to come."""
        self._shared.handler = around(self._shared.handler)

    def serve(self, sock: socket.SocketType) -> Coroutine[Any, Any, None]:
        """Serve one connection to its end; owns and closes the socket.

        Never raises for what a peer did.  An exception of the handler is logged with its traceback
        and becomes a 500, or an aborted connection when the response has begun.
        """
        return self.serve_transport(self.transport(sock))

    def transport(self, sock: socket.SocketType) -> Transport:
        """What carries the bytes of a socket here, which it owns from now on."""
        if self._poller is None:
            return SocketTransport(sock)
        return PolledTransport(sock, self._poller)

    def open(self, nursery: trio.Nursery) -> None:
        """From now on connections are parked while they are idle; the nursery is theirs.

        What ``serve`` returns has to be driven by ``http1.inline`` then.
        """
        if not Poller.available():
            return
        try:
            self._poller = Poller(self._shared.config.send_timeout)
        except OSError:  # EMFILE: trio's waits need no descriptor, so they make do
            return
        self._poller.start(nursery)

    async def serve_transport(self, transport: Transport) -> None:
        """As ``serve``, over anything that carries bytes; owns and closes the transport."""
        connection = Connection(transport, self._shared)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            transport.close()
            self._tally.flush()

    def tick(self, now: float) -> None:
        """Expire deadlines and render the Date; call it about every 0.25 seconds.

        Args:
            now: seconds of any clock that does not jump back; only differences count.
        """
        shared = self._shared
        if self._last_tick is not None:
            shared.now += min(max(now - self._last_tick, 0.0), LONGEST_STEP)
        self._last_tick = now
        shared.set_date(time.time())
        self._tally.flush()
        for connection in self._connections:
            if connection.deadline <= shared.now or connection.send_deadline <= shared.now:
                connection.transport.interrupt()
            if connection.limit is not None:
                connection.limit.check()

    def drain(self) -> None:
        """Let every connection end after its response; idempotent.

        An idle one gets ``drain_idle`` seconds to bring one more request, which is answered with
        ``Connection: close``.
        """
        shared = self._shared
        if shared.draining:
            return
        shared.draining = True
        limit = shared.now + shared.config.drain_idle
        for connection in self._connections:
            if connection.idle and connection.deadline < math.inf:
                connection.deadline = min(connection.deadline, limit)

    def resume(self) -> None:
        """Let connections stay again; one that was told to end does."""
        shared = self._shared
        if not shared.draining:
            return
        shared.draining = False
        config = shared.config
        limit = shared.now + min(config.keep_alive, config.header_timeout)
        for connection in self._connections:
            if connection.idle:
                connection.deadline = max(connection.deadline, limit)
