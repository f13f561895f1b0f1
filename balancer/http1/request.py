"""One request, as a handler sees it: its head, where it came from, and its body as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from balancer.core.requestid import HEADER
from balancer.http1.bodies import BodyReader, ChunkedReader, LengthReader
from balancer.http1.errors import ClientGone, MisuseError
from balancer.http1.phase import DONE, PENDING, TUNNEL

if TYPE_CHECKING:
    from balancer.http1.connection import Connection
    from balancer.http1.head import Head
    from balancer.http1.phase import Phase
    from balancer.http1.transport import Address

__all__ = ["Request"]

READ_AHEAD = 65536
ID_FIELD = (HEADER,)


class Request:
    """A request, and the means to read it; ``Exchange`` has the means to answer."""

    __slots__ = ("_body", "_connection", "_expects", "_head", "_id", "phase")

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

    def identify(self, said: str, host: str | None) -> str:
        """``request_id``, for who has looked at X-Request-ID and at the client already."""
        found: str = getattr(self, "_id", "")
        if not found:
            found = self._id = self._connection.shared.config.ids.choose(said, host)
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

    # for the engine

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
