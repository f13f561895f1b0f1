"""One request and its response, as a handler sees them; this is the response.

The engine's internal protocol: ASGI, WSGI and the proxy are adapters over it.  Reading and writing
are independent, so a handler may answer while it still reads.  Whatever a handler does wrong
raises ``MisuseError`` in the handler, before anything that would corrupt the wire is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from balancer.http1.errors import MisuseError
from balancer.http1.phase import DONE, PENDING, STARTED, STREAMING, TUNNEL, Phase
from balancer.http1.request import Request
from balancer.http1.responses import (
    BODILESS,
    ResponseHead,
    length_line,
    read_fields,
    render_fields,
    render_trailers,
    status_line,
)

if TYPE_CHECKING:
    from balancer.http1.connection import Connection
    from balancer.http1.head import Head
    from balancer.http1.responses import Fields
    from balancer.http1.transport import Transport

__all__ = ["ONE_SEND", "Exchange", "Handler", "Phase", "Tunnel"]

ONE_SEND = 65536
"""A body up to this size is copied behind its head, to leave in one segment train."""


class Tunnel(NamedTuple):
    """A connection that left HTTP: its transport, and what the client sent already."""

    transport: Transport
    buffered: bytes


class Exchange(Request):
    """A request, and the means to answer it.

    Answer with one ``respond``, or with ``start``, any number of ``write`` and one ``finish``.
    All methods that talk to the client raise ``ClientGone`` when it left or stopped reading; a
    handler may let that pass.
    """

    __slots__ = (
        "_chunked",
        "_has_body",
        "_left",
        "_unsent",
        "persist",
        "status",
        "upstream",
        "upstream_seconds",
    )

    def __init__(self, connection: Connection, head: Head) -> None:
        super().__init__(connection, head)
        self.status = 0
        """The status of the response, once there is one."""
        self.persist = False
        """Whether the response promised that the connection stays."""
        self.upstream = ""
        """Where a proxy sent it, for the access log: addresses with commas between them."""
        self.upstream_seconds: float | None = None
        """How long the last of those took to begin its answer."""

    async def respond(
        self, status: int = 200, headers: Fields | ResponseHead = (), body: bytes = b""
    ) -> None:
        """Send a whole response; head and a small body leave together.

        Content-Length is added.  The body of a response to HEAD is counted, not sent.

        Raises:
            MisuseError: the response has begun, a header is malformed or contradicts the body, or
                a 204 or 304 has a body.
        """
        if len(body) > ONE_SEND:
            await self._respond_large(status, headers, body)
        elif rest := self.respond_nowait(status, headers, body):
            await self.send_rest(rest)

    def respond_nowait(
        self, status: int, headers: Fields | ResponseHead, body: bytes
    ) -> bytes | None:
        """As ``respond``, without waiting; for a body that isn't copied in vain.

        Returns what the kernel did not take, for ``send_rest``; None: the response is complete.
        """
        pieces = self._open(status, headers, body)
        connection = self._connection
        data = b"".join((*pieces, body) if self._has_body else pieces)
        self.phase = STREAMING
        if self.persist:
            sent = connection.transport.post_nowait(data)
        elif connection.nothing_follows(self, self._head):
            sent = connection.transport.send_last_nowait(data)
        else:
            sent = connection.transport.send_nowait(data)
        connection.bytes_out += sent
        if sent != len(data):
            return data[sent:]
        self.phase = DONE
        return None

    async def send_rest(self, rest: bytes) -> None:
        """Send what ``respond_nowait`` has left."""
        await self._connection.send(rest)
        self.phase = DONE

    async def _respond_large(
        self, status: int, headers: Fields | ResponseHead, body: bytes
    ) -> None:
        head = b"".join(self._open(status, headers, body))
        self.phase = STREAMING
        await self._connection.send(head)
        if self._has_body:
            await self._connection.send(body)
        self.phase = DONE

    async def start(self, status: int, headers: Fields | ResponseHead = ()) -> None:
        """Begin a response whose body comes in pieces.

        The head leaves with the first ``write``, also one of b"".  Without Content-Length the body
        is sent in chunks, or, to an HTTP/1.0 client, up to the end of the connection.

        Raises:
            MisuseError: as ``respond``.
        """
        self._unsent = b"".join(self._open(status, headers, None))
        self.phase = STARTED

    async def write(self, data: bytes) -> None:
        """Send a piece of the body and wait until the kernel has taken it: this is backpressure.

        Raises:
            MisuseError: before ``start`` or after ``finish``; more bytes than Content-Length;
                a body where none is allowed (HEAD, 204, 304).
        """
        if self.phase is not STREAMING and self.phase is not STARTED:
            raise MisuseError("write belongs between start and finish")
        if data:
            if not self._has_body:
                raise MisuseError("a response to HEAD, a 204 and a 304 have no body")
            if self._left is not None:
                if len(data) > self._left:
                    raise MisuseError("the body is longer than its Content-Length")
                self._left -= len(data)
            elif self._chunked:
                data = b"%x\r\n%b\r\n" % (len(data), data)
        await self._send(data)

    async def finish(self, trailers: Fields = ()) -> None:
        """End the response.  Trailers are sent only behind chunks.

        Raises:
            MisuseError: before ``start``; a malformed or forbidden trailer; fewer bytes than
                Content-Length, in which case the connection is aborted so that the client sees it.
        """
        if self.phase is not STREAMING and self.phase is not STARTED:
            raise MisuseError("finish belongs after start, and once")
        end = render_trailers(trailers)
        if self._has_body and self._left:
            if self.phase is STREAMING:
                self.abort()
            raise MisuseError(f"the body is {self._left} bytes shorter than its Content-Length")
        await self._send(end if self._chunked else b"")
        self.phase = DONE

    async def inform(self, status: int, headers: Fields = ()) -> None:
        """Send an interim response, such as 103; HTTP/1.0 clients get none.

        Raises:
            MisuseError: the response has begun; the status is not 1xx, or is 101.
        """
        if self.phase is not PENDING:
            raise MisuseError("an interim response comes before the response")
        if not 100 <= status <= 199 or status == 101:
            raise MisuseError(f"{status} is no interim response (for 101 see upgrade)")
        lines = render_fields(headers)
        if self._head.http_version == "1.0":
            return
        if status == 100:
            self._expects = False
        await self._connection.send(status_line(status) + lines + b"\r\n")

    async def upgrade(self, headers: Fields) -> Tunnel:
        """Leave HTTP: send 101 with these fields and hand the connection to the handler.

        ``headers`` must name Connection and Upgrade.  When the handler returns, the engine
        half-closes and closes the transport; so it does when the handler is cancelled, because what
        came last may be for the client to read.  A handler that wants a reset calls ``abort``.

        Raises:
            MisuseError: the client didn't ask, the response has begun, the body was not read.
        """
        if self.phase is not PENDING or not self._head.upgrade or not self.body_read:
            raise MisuseError("only a fully read request that asks for it can be upgraded")
        lines = render_fields(headers)
        self.phase = STREAMING
        self.status = 101
        await self._connection.send(status_line(101) + lines + b"\r\n")
        self.phase = TUNNEL
        connection = self._connection
        connection.handshake_took = perf_counter() - connection.began
        buffered, connection.buffer = connection.buffer, b""
        return Tunnel(connection.transport, buffered)

    def count(self, received: int, sent: int) -> None:
        """Bytes that passed through the ``Tunnel``, for the statistics."""
        self._connection.bytes_in += received
        self._connection.bytes_out += sent

    def abort(self) -> None:
        """Cut the connection with a reset, so that what was sent can't be taken for complete."""
        self.persist = False  # after ``respond`` too, nothing is read from it any more
        self._connection.abort()

    @property
    def client_transport(self) -> Transport:
        """The client's connection, for who has to know whether it is still there."""
        return self._connection.transport

    def client_pipelines(self) -> bool:
        """Whether it sends requests before it has the answers: its end is no abort then."""
        connection = self._connection
        return connection.pipelines or bool(connection.buffer) or connection.transport.has_bytes()

    # for the engine

    @property
    def begun(self) -> bool:
        """Whether a byte of the response may have left."""
        return self.phase is not PENDING and self.phase is not STARTED

    @property
    def complete(self) -> bool:
        """Whether everything has left that the head announced."""
        return self.phase is DONE or (
            self.phase is STREAMING
            and not self._chunked
            and (not self._has_body or self._left == 0)
        )

    def _open(
        self, status: int, fields: Fields | ResponseHead, body: bytes | None
    ) -> tuple[bytes, ...]:
        """The pieces of the response's head; decides framing and whether the connection goes on."""
        if self.phase is not PENDING:
            raise MisuseError("the response has begun already")
        if not 200 <= status <= 599:  # RFC 9110 15: all others are invalid
            raise MisuseError(f"{status} is no status of a response")
        head = fields if isinstance(fields, ResponseHead) else read_fields(fields)
        connection = self._connection
        shared = connection.shared
        request = self._head
        has_body = status not in BODILESS and request.method != "HEAD"
        self._has_body = has_body
        if body is not None and has_body and head.length is None:
            length: int | None = len(body)
        else:
            length = self._length(head, status, body)
        chunked = length is None and has_body and request.http_version == "1.1"
        self._left = length
        self._chunked = chunked
        self.persist = persist = (
            request.keep_alive
            and not head.close
            and not shared.draining
            and connection.requests_left > 0
            and (length is not None or chunked or not has_body)
            and (self._body is None or self._body_will_be_read(body is not None))
        )
        if chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
        elif length is None:
            framing = b""
        else:
            framing = length_line(length)
        if not persist:
            end = b"Connection: close\r\n\r\n"
        elif request.http_version == "1.1":
            end = b"\r\n"
        else:
            end = b"Connection: keep-alive\r\n\r\n"
        prefix = status_line(status) if head.dated else shared.prefix(status)
        self.status = status
        return prefix, head.lines, framing, end

    def _length(self, head: ResponseHead, status: int, body: bytes | None) -> int | None:
        """The Content-Length to send, if any (RFC 9110 8.6)."""
        if body and status in BODILESS:
            raise MisuseError(f"a {status} has no body")
        if status == 204:
            return None
        if head.length is None:
            if body is None or (not body and not self._has_body):
                return None
            return len(body)
        if body is not None and len(body) != head.length and (body or self._has_body):
            raise MisuseError(f"Content-Length {head.length} for a body of {len(body)} bytes")
        return head.length

    async def _send(self, data: bytes) -> None:
        if self.phase is STARTED:
            data = self._unsent + data
            self._unsent = b""
            self.phase = STREAMING
        if data:
            await self._connection.send(data)


Handler = Callable[[Exchange], Awaitable[None]]
"""Answers one request.  Returning without an answer is a 500, as raising is."""
