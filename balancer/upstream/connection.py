"""One connection to an endpoint: a request out, its response in, and again.

Waiting for the response *parks* (``http1.inline``): the leader's task goes on with other
connections, so a request that is passed on costs no task.  Whoever has a nursery or a cancel scope
open waits with ``parks=False``.

Time is the reaper's (``clock``); when ``deadline`` has passed, ``expire`` interrupts the wait.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, final

import trio

from balancer.core.retry import Failure
from balancer.http1.bodies import ChunkedReader, LengthReader
from balancer.http1.errors import ClientGone, RequestError
from balancer.http1.replies import BadReply, parse_reply
from balancer.upstream.errors import ClientLeft, UpstreamError

if TYPE_CHECKING:
    from balancer.http1.bodies import BodyReader
    from balancer.http1.config import Http1Config
    from balancer.http1.replies import Reply
    from balancer.http1.transport import Transport

__all__ = ["Clock", "UntilEnd", "UpstreamConnection"]

HEAD_READ = 16384
BODY_READ = 262144
FINAL = 200
"""The statuses below announce another response, or are the end of HTTP on this connection."""


class Clock(Protocol):
    """The reaper's: it stands still while the worker does."""

    now: float
    """Seconds."""


@final
class UntilEnd:
    """A body that ends with its connection (RFC 9112 6.3, 8)."""

    __slots__ = ("done", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.trailers: list[tuple[bytes, bytes]] = []

    def take(self, buffer: bytes) -> tuple[bytes, bytes]:
        """All of it."""
        return buffer, b""

    def remaining(self) -> int | None:
        """Nobody knows."""
        return None


@final
class UpstreamConnection:
    """Owns its transport; ``close`` gives it back.

    Args:
        transport: The connected socket.
        endpoint: Its row in the table.
        limits: What a response's head may be like.
        clock: That of ``deadline``.
        open_ones: Where it is as long as it is open, for the reaper.
    """

    __slots__ = (
        "_abandoned",
        "_clock",
        "_interim",
        "_limits",
        "_open_ones",
        "answered",
        "buffer",
        "bytes_in",
        "deadline",
        "endpoint",
        "idle",
        "idle_since",
        "transport",
        "watched",
    )

    def __init__(
        self,
        transport: Transport,
        endpoint: int,
        limits: Http1Config,
        clock: Clock,
        open_ones: set[UpstreamConnection] | None = None,
    ) -> None:
        self.transport = transport
        self.endpoint = endpoint
        self.buffer = b""
        self.bytes_in = 0
        self.answered = 0
        """How many responses have come."""
        self.deadline = math.inf
        self.idle = False
        """It is the pool's, and so are the next two."""
        self.idle_since = 0.0
        self.watched = False
        self._limits = limits
        self._clock = clock
        self._abandoned = False
        self._open_ones = set() if open_ones is None else open_ones
        self._open_ones.add(self)
        self._interim = False
        """The response in progress has begun with a 1xx."""

    @property
    def fresh(self) -> bool:
        """Whether this is its first request: a failure can't be the race with an idle close."""
        return not self.answered

    @property
    def usable(self) -> bool:
        """Whether it may carry another request: nothing came that nobody had asked for."""
        return not self.buffer and not self.transport.stirred

    def close(self) -> None:
        """Give the socket back; what is on the way to us is not wanted any more.  Idempotent."""
        self._open_ones.discard(self)
        self.transport.send_eof()
        self.transport.close()

    def expect(self, seconds: float | None) -> None:
        """What is waited for next has so much time from now on; None: as much as it likes."""
        self.deadline = math.inf if seconds is None else self._clock.now + seconds

    def expire(self, now: float) -> None:
        """Interrupt a wait whose time is over."""
        if self.deadline <= now:
            self.transport.interrupt()

    def abandon(self) -> None:
        """Interrupt a wait: nobody is interested in the answer any more."""
        self._abandoned = True
        self.transport.interrupt()

    # -- the request --------------------------------------------------------------------------

    def post_nowait(self, data: bytes) -> bytes:
        """Send a whole request, perhaps together with others'; returns what is left of it.

        Raises:
            UpstreamError: the connection is broken.
            ClientLeft: it was abandoned.
        """
        if self._abandoned:
            raise ClientLeft
        try:
            sent = self.transport.post_nowait(data)
        except ClientGone as error:
            raise self._broken(str(error)) from None
        return data[sent:]

    async def send(self, data: bytes) -> None:
        """Send everything; the wait for the kernel is the backpressure.

        Raises:
            UpstreamError: the connection is broken, or its time is over.
            ClientLeft: it was abandoned.
        """
        rest = memoryview(data)
        while rest:
            try:
                sent = self.transport.send_nowait(rest)
                rest = rest[sent:]
                if rest:
                    await self.transport.wait_writable()
            except ClientGone as error:
                raise self._broken(str(error)) from None
            except trio.ClosedResourceError:
                self._note_interrupt()

    # -- the response -------------------------------------------------------------------------

    async def reply(self, *, parks: bool = True) -> Reply:
        """Wait for a response's head, at most until ``deadline``.

        Raises:
            UpstreamError: it broke, was late, or is no response.
            ClientLeft: it was abandoned.
        """
        scanned = 0
        while True:
            buffer = self.buffer
            if buffer:
                try:
                    found = parse_reply(buffer, self._limits, scanned)
                except BadReply as error:
                    raise UpstreamError(Failure.MALFORMED, error.reason) from None
                if found is not None:
                    self.buffer = buffer[found.size :]
                    if found.status >= FINAL:
                        self.answered += 1
                        self._interim = False
                    else:
                        self._interim = True
                    return found
                scanned = len(buffer)
            try:
                data = await self._receive(HEAD_READ, parks=parks)
            except ClientGone as error:
                raise self._broken(str(error)) from None
            if not data:
                raise self._broken("it closed the connection before its response was complete")
            self.buffer += data

    def body(self, reply: Reply, method: str) -> BodyReader | None:
        """What reads the body that follows; None: there is none."""
        if not reply.has_body(method):
            return None
        if reply.chunked:
            return ChunkedReader(self._limits)
        if reply.head.length is not None:
            return LengthReader(reply.head.length)
        return UntilEnd()

    async def pull(self, body: BodyReader, *, parks: bool = True) -> bytes:
        """The next piece of a body; b"" at its end.

        Raises:
            UpstreamError: the body is malformed or ends too early: the client must see it.
            ClientLeft: it was abandoned.
        """
        while True:
            piece = self.pull_nowait(body)
            if piece or body.done:
                return piece
            try:
                data = await self._receive(BODY_READ, parks=parks)
            except ClientGone as error:  # or an end that nobody has vouched for (TLS)
                raise UpstreamError(Failure.TRUNCATED, str(error)) from None
            if data:
                self.buffer += data
            elif isinstance(body, UntilEnd):
                body.done = True
            else:
                raise UpstreamError(Failure.TRUNCATED, "it closed the connection inside of a body")

    def pull_nowait(self, body: BodyReader) -> bytes:
        """What has come of a body, all of it; UpstreamError as in ``pull``."""
        pieces = []
        try:
            while self.buffer and not body.done:
                piece, self.buffer = body.take(self.buffer)
                if not piece:
                    break
                pieces.append(piece)
        except RequestError as error:
            raise UpstreamError(Failure.MALFORMED, error.reason) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _receive(self, limit: int, *, parks: bool) -> bytes:
        """What has come; b"" at the end; ClientGone: the connection broke."""
        transport = self.transport
        while True:
            if self._abandoned:
                raise ClientLeft
            try:
                await (transport.wait_request() if parks else transport.wait_readable())
                data = transport.recv_nowait(limit)
            except trio.ClosedResourceError:
                self._note_interrupt()
                continue
            if data is not None:
                self.bytes_in += len(data)
                return data

    def _note_interrupt(self) -> None:
        """A wait was interrupted: raise why, or return when it was not for our sake."""
        if self._abandoned:
            raise ClientLeft
        if self._clock.now >= self.deadline:
            raise UpstreamError(Failure.TIMEOUT, "it did not answer in time")

    def _broken(self, reason: str) -> UpstreamError:
        if self.buffer or self._interim:  # it has begun to answer: no retry
            return UpstreamError(Failure.TRUNCATED, reason)
        return UpstreamError(Failure.BROKEN if self.fresh else Failure.STALE, reason)
