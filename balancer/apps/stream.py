"""Stream handlers: any protocol over TCP, Node's ``net.createServer`` in a cluster.

``async def handler(stream)`` gets a ``trio.SocketStream`` for each connection and owns the
conversation.  What it need not do: close the stream, end politely, or survive its clients.

* It returns: half-close, discard for a while what the client still sends (a close with unread data
  makes the kernel send a reset, which can overtake the last answer), close.
* It raises: the traceback is logged and the connection reset, so that the client can't take what it
  has for complete.  A client that vanished (``trio.BrokenResourceError``) is no error.
* The worker's drain is over: it is cancelled, as trio code expects; the connection is half-closed.

A connection counts as one request.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from balancer.http1.tally import Stats

__all__ = ["StreamHandler", "StreamService"]

logger = logging.getLogger("balancer")

StreamHandler = Callable[[trio.SocketStream], Awaitable[None]]

LINGER = 2.0
"""Seconds to discard what a client sends after the handler has returned."""
LINGER_BYTES = 65536
# l_onoff, l_linger: close at once, and with a reset
RESET = struct.pack("ii", 1, 0)


@final
class StreamService:
    """Serves connections with a stream handler."""

    def __init__(self, name: str, handler: StreamHandler, stats: Stats) -> None:
        self._name = name
        self._handler = handler
        self._stats = stats

    async def start(self, nursery: trio.Nursery) -> None:
        """Nothing to do."""

    def open(self, nursery: trio.Nursery) -> None:
        """Nothing to do."""

    async def serve(self, sock: socket.SocketType) -> None:
        """Serve one connection to its end; owns and closes the socket."""
        began = perf_counter()
        stream = trio.SocketStream(_for_trio(sock))
        try:
            await self._run(stream)
        finally:
            with suppress(OSError):  # closed already, by the handler or with a reset
                # the master may still hold a copy: a close alone would send no FIN
                stream.socket.shutdown(socket.SHUT_WR)
            stream.socket.close()
            self._stats.requests_done([(0, perf_counter() - began, 0, 0)])

    async def _run(self, stream: trio.SocketStream) -> None:
        try:
            await self._handler(stream)
        except trio.BrokenResourceError:
            return
        except Exception as error:
            if not _is_clients(error):
                logger.error("app %s: the handler failed", self._name, exc_info=error)
            _abort(stream)
        else:
            await _linger(stream)

    def tick(self, now: float) -> None:
        """No clock of ours runs: deadlines are the handler's."""

    def drain(self) -> None:
        """A stream has no place where it could be ended for all protocols: it has its time."""

    def resume(self) -> None:
        """Nothing was asked of anybody."""

    def farewell(self) -> bool:
        """Nor a last word."""
        return False

    async def stop(self) -> None:
        """Nothing to do."""


def _for_trio(sock: socket.SocketType) -> trio.socket.SocketType:
    family, kind, proto = sock.family, sock.type, sock.proto
    return trio.socket.from_stdlib_socket(socket.socket(family, kind, proto, fileno=sock.detach()))


def _is_clients(error: Exception) -> bool:
    """Whether an exception says only that the client has gone, alone or in a nursery's group."""
    if isinstance(error, ExceptionGroup):
        return all(map(_is_clients, error.exceptions))
    return isinstance(error, trio.BrokenResourceError)


def _abort(stream: trio.SocketStream) -> None:
    with suppress(OSError):  # closed already, or EINVAL: reset already
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    stream.socket.close()


async def _linger(stream: trio.SocketStream) -> None:
    """Half-close and discard; a stream that the handler has closed is at its end already."""
    with suppress(trio.ClosedResourceError, trio.BrokenResourceError), trio.move_on_after(LINGER):
        await stream.send_eof()
        budget = LINGER_BYTES
        while budget > 0 and (data := await stream.receive_some()):
            budget -= len(data)
