"""One request and its response, as a handler sees them.

The engine's internal protocol: ASGI, WSGI and the proxy are adapters over it.  Reading and writing
are independent, so a handler may answer while it still reads.  Whatever a handler does wrong
raises ``MisuseError`` in the handler, before anything that would corrupt the wire is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import trio

from balancer.core.requestid import HEADER
from balancer.http1.bodies import BodyReader, ChunkedReader, LengthReader
from balancer.http1.errors import ClientGone, MisuseError
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
    from balancer.http1.heads import Head
    from balancer.http1.responses import Fields
    from balancer.http1.transport import Address, Transport

__all__ = ["ONE_SEND", "Exchange", "Handler", "Phase", "Tunnel"]

READ_AHEAD = 65536
ID_FIELD = (HEADER,)
ONE_SEND = 65536
"""A body up to this size is copied behind its head, to leave in one segment train."""


class Phase(Enum):
    """How far the response is."""

    PENDING = "nothing was said"
    STARTED = "the head waits for the first piece of the body"
    STREAMING = "the head was sent"
    DONE = "everything was sent"
    TUNNEL = "the connection is the handler's"


# read on every request, and an Enum member is a slow attribute
PENDING, STARTED, STREAMING = Phase.PENDING, Phase.STARTED, Phase.STREAMING
DONE, TUNNEL = Phase.DONE, Phase.TUNNEL


class Tunnel(NamedTuple):
    """A connection that left HTTP: its transport, and what the client sent already."""

    transport: Transport
    buffered: bytes


class Exchange:
    """A request, and the means to answer it.

    Answer with one ``respond``, or with ``start``, any number of ``write`` and one ``finish``.
    All methods that talk to the client raise ``ClientGone`` when it left or stopped reading; a
    handler may let that pass.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_connection",
        "_expects",
        "_has_body",
        "_head",
        "_id",
        "_left",
        "_unsent",
        "persist",
        "phase",
        "status",
    )

    def __init__(self, connection: Connection, head: Head) -> None:
        self._connection = connection
        self._head = head
        self._expects = head.expect_continue
        self._body: BodyReader | None = None
        if head.content_length:
            self._body = LengthReader(head.content_length)
        elif head.chunked:
            self._body = ChunkedReader(connection.shared.config)
        self.phase: Phase = PENDING
        self.status = 0
        """The status of the response, once there is one."""
        self.persist = False
        """Whether the response promised that the connection stays."""

    # the request

    @property
    def head(self) -> Head:
        """The request's head, for adapters that read all of it."""
        return self._head

    @property
    def memo(self) -> object:
        """What the handler wants to find again at the next request of this connection."""
        return self._connection.memo

    @memo.setter
    def memo(self, value: object) -> None:
        self._connection.memo = value

    @property
    def method(self) -> str:
        """As sent: methods are case-sensitive."""
        return self._head.method

    @property
    def target(self) -> bytes:
        """The request target as sent, whatever its form."""
        return self._head.target

    @property
    def origin(self) -> bytes:
        """Path and query of the target, also where that names the host; ``*`` for OPTIONS."""
        return self._head.origin

    @property
    def path(self) -> bytes:
        """The path of the target, not decoded, without query; ``*`` for OPTIONS of the server."""
        return self._head.origin.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What follows the first question mark, not decoded."""
        return self._head.origin.partition(b"?")[2]

    @property
    def http_version(self) -> str:
        """ "1.0" or "1.1"."""
        return self._head.http_version

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """In order, names in lower case.  The host of an absolute target replaces Host."""
        return self._head.headers

    @property
    def trailers(self) -> list[tuple[bytes, bytes]]:
        """The request's trailers, once ``read`` has returned b""."""
        return [] if self._body is None else self._body.trailers

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return self._connection.transport.scheme

    @property
    def client(self) -> Address:
        """The address of the connection's other end."""
        return self._connection.transport.peer

    @property
    def server(self) -> Address:
        """The address the client connected to."""
        return self._connection.transport.local

    @property
    def request_id(self) -> str:
        """The request's name in logs: what a trusted proxy said in X-Request-ID, or one of ours.

        It is made up when it is first asked for.
        """
        found: str = getattr(self, "_id", "")  # not set up in advance: most are never asked
        if not found:
            client = self.client
            host = client[0] if isinstance(client, tuple) else None
            ids = self._connection.shared.config.ids
            found = self._id = ids.choose(self._head.pick(ID_FIELD)[0], host)
        return found

    def get_request_id(self) -> str:
        """``request_id``, for who needs a function."""
        return self.request_id

    @property
    def upgrade_requested(self) -> bool:
        """Whether the client offers to leave HTTP (RFC 9110 7.8); Upgrade says for what."""
        return self._head.upgrade

    @property
    def draining(self) -> bool:
        """Whether the server is about to stop: a long-lived response should come to an end."""
        return self._connection.shared.draining

    @property
    def body_read(self) -> bool:
        """Whether the request's body has been read to its end."""
        return self._body is None or self._body.done

    async def read(self) -> bytes:
        """The next piece of the request's body; b"" at its end.

        Nothing is read from the socket before it is asked for here, but for the rest of a buffer.
        ``100 Continue`` is sent when a client that waits for it is first read from.

        Raises:
            RequestError: the body is malformed (400), too large (413) or stalled (408).  A
                handler may let it pass: the client gets that status.
            ClientGone: the client left before the body's end.
        """
        if self._body is None or self._body.done:
            return b""
        if self.phase is DONE or self.phase is TUNNEL:
            raise MisuseError("the response is complete: the body can't be read any more")
        if self._expects:
            self._expects = False
            if self.phase is PENDING and not self._connection.buffer:
                await self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await self._connection.pull(self._body)

    def read_nowait(self) -> bytes:
        """What has come of the body together with its head; b"": nothing, or there is none.

        Raises:
            RequestError: as ``read``.
        """
        if self._body is None or not self._connection.buffer:
            return b""
        data = self._connection.pull_nowait(self._body)
        if data:
            self._expects = False  # it didn't wait for our 100 Continue
        return data

    async def wait_gone(self) -> None:
        """Return when the client has gone, reset or closed; cancel it before the handler returns.

        Must not run beside ``read``.  A client that only closed its sending side looks the same,
        unless it left requests behind; what it is sent still reaches it.
        """
        connection = self._connection
        try:
            while len(connection.buffer) < READ_AHEAD:
                data = await connection.receive_undisturbed(READ_AHEAD)
                if not data and not connection.buffer:
                    return
                if not data:
                    break
                connection.buffer += data
        except ClientGone:
            return
        await trio.sleep_forever()

    # the response

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
        buffered, self._connection.buffer = self._connection.buffer, b""
        return Tunnel(self._connection.transport, buffered)

    def count(self, received: int, sent: int) -> None:
        """Bytes that passed through the ``Tunnel``, for the statistics."""
        self._connection.bytes_in += received
        self._connection.bytes_out += sent

    def abort(self) -> None:
        """Cut the connection with a reset, so that what was sent can't be taken for complete."""
        self.persist = False  # after ``respond`` too, nothing is read from it any more
        self._connection.abort()

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

    async def discard(self, limit: int) -> bool:
        """Read what the handler left of the body; False: it is too much to be worth it."""
        body = self._body
        if body is None or body.done:
            return True
        if self._expects and not self._connection.buffer:
            return False  # the client may take our answer for a no, and never send it
        while limit > 0:
            piece = await self._connection.pull(body)
            if not piece:
                return True
            limit -= len(piece)
        return False

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

    def _body_will_be_read(self, last_chance: bool) -> bool:
        """Whether the rest of the request's body can be got rid of behind the response."""
        body = self._body
        assert body is not None
        if body.done:
            return True
        connection = self._connection
        if self._expects and not connection.buffer:
            return False
        if not last_chance:
            return True
        connection.drop_buffered(body)
        left = body.remaining()
        return left is not None and left <= connection.shared.config.linger_bytes

    async def _send(self, data: bytes) -> None:
        if self.phase is STARTED:
            data = self._unsent + data
            self._unsent = b""
            self.phase = STREAMING
        if data:
            await self._connection.send(data)


Handler = Callable[[Exchange], Awaitable[None]]
"""Answers one request.  Returning without an answer is a 500, as raising is."""
