"""A request's body on its way to the upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from balancer.apps.proxy.forward import trailer_lines

if TYPE_CHECKING:
    from balancer.http1.exchange import Exchange
    from balancer.upstream.connection import UpstreamConnection

__all__ = ["Nothing", "Upload", "upload_of"]

REPLAYABLE = 65536
"""Bytes of a body that are kept for another attempt."""


@final
class Nothing:
    """The body of a request that has none."""

    __slots__ = ("framing",)

    complete = True
    sent = True
    replayable = True

    def __init__(self, framing: bytes) -> None:
        self.framing = framing

    def begin(self) -> bytes:
        """As ``Upload.begin``."""
        return b""

    async def rest(self, connection: UpstreamConnection, seconds: float) -> None:
        """As ``Upload.rest``: never called, since it is complete."""


NO_BODY = Nothing(b"")
EMPTY_BODY = Nothing(b"content-length: 0\r\n")
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose requests say so when they have none (RFC 9110 8.6)."""


def upload_of(exchange: Exchange) -> Upload | Nothing:
    """The body of a request."""
    head = exchange.head
    if head.content_length or head.chunked:
        return Upload(exchange)
    return EMPTY_BODY if head.method in WITH_BODY else NO_BODY


@final
class Upload:
    """The body of one request: what has come with the head, and the rest as it comes.

    Framing is made anew (RFC 9112 6): a length that the client announced, or chunks.
    """

    __slots__ = ("_chunked", "_exchange", "_kept", "_lost", "framing", "sent")

    def __init__(self, exchange: Exchange) -> None:
        head = exchange.head
        self._exchange = exchange
        self._chunked = head.chunked
        self._kept = b""
        self._lost = False
        self.sent = False
        """The upstream of the last attempt has all of it, so that another request may follow."""
        if head.chunked:
            self.framing = b"transfer-encoding: chunked\r\n"
        else:
            self.framing = b"content-length: %d\r\n" % head.content_length

    @property
    def complete(self) -> bool:
        """Whether nothing more comes from the client."""
        return self._exchange.body_read

    @property
    def replayable(self) -> bool:
        """Whether what was read can be sent again."""
        return not self._lost

    def begin(self) -> bytes:
        """What is there of the body, framed, for the first send of an attempt.

        Raises:
            RequestError: the body is malformed or too large.
        """
        before, piece = self._kept, b""
        self.sent = False
        if not self._exchange.body_read:
            piece = self._frame(self._exchange.read_nowait())
            self._keep(piece)
        self.sent = self.complete  # or the attempt fails
        return before + piece  # also where it was too much to be kept

    async def rest(self, connection: UpstreamConnection, seconds: float) -> None:
        """Send the rest as it comes; the upstream's pace is the client's.

        Args:
            connection: where to.
            seconds: how long it may take to accept each piece, and to answer after the last.

        Raises:
            RequestError, ClientGone: as ``Exchange.read``.
            UpstreamError: as ``UpstreamConnection.send``.
        """
        exchange = self._exchange
        while not exchange.body_read:
            connection.expect(None)  # the client's time, which the engine keeps
            piece = self._frame(await exchange.read())
            self._keep(piece)
            connection.expect(seconds)
            await connection.send(piece)  # perhaps cancelled by an answer, in the middle of it
        self.sent = True

    def _frame(self, piece: bytes) -> bytes:
        if not self._chunked:
            return piece
        framed = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
        if self._exchange.body_read:
            framed += b"0\r\n%b\r\n" % trailer_lines(self._exchange.trailers)
        return framed

    def _keep(self, piece: bytes) -> None:
        if self._lost or len(self._kept) + len(piece) > REPLAYABLE:
            self._lost = True
        else:
            self._kept += piece
