"""What comes on a connection: the first bytes of a request, the rest of its head, its body.

Where data is never there yet one waits first, and where it usually is, one tries first: a read that
says EAGAIN costs one microsecond and a wait eight.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from balancer.http1.errors import ClientGone, RequestError
from balancer.http1.heads import only_blank_lines, parse_head
from balancer.http1.wire import HEAD_READ, DeadlinePassed, Wire

if TYPE_CHECKING:
    from balancer.http1.bodies import BodyReader
    from balancer.http1.head import Head
    from balancer.http1.shared import Shared
    from balancer.http1.transport import Transport

__all__ = ["Reader"]

BODY_READ = 65536


class Reader(Wire):
    """A connection's requests, as bytes come."""

    __slots__ = ("idle", "requests_left")

    def __init__(self, transport: Transport, shared: Shared) -> None:
        super().__init__(transport, shared)
        self.requests_left = shared.config.keep_alive_requests
        """How many more requests this connection may bring."""
        self.idle = False
        """Waiting for the first byte of a request: nobody is owed anything."""

    async def _first_bytes(self) -> bool:
        """Fresh from accept: data is usually there already, so try first.

        False: the connection is over.  RequestError: nothing came in time.
        """
        shared = self.shared
        data = self.transport.recv_nowait(HEAD_READ)
        if data is None:
            self.idle = True
            timeout = shared.config.drain_idle if shared.draining else shared.config.header_timeout
            self.deadline = shared.now + timeout
            try:
                data = await self.receive(HEAD_READ)
            except DeadlinePassed:
                data = self._last_read()
                if data is None and shared.draining:
                    await self._linger()
                    return False
                if data is None:
                    raise RequestError(408, "no request came in time") from None
            finally:
                self.idle = False
            if shared.draining:
                self.deadline = shared.now + shared.config.header_timeout
        else:
            self.bytes_in += len(data)
            self.deadline = shared.now + shared.config.header_timeout
        if not data:
            self.transport.send_eof()
            return False
        self.buffer = data
        return True

    async def _next_bytes(self) -> bool:
        """After a response nothing is there yet, so wait first."""
        shared = self.shared
        timeout = shared.config.drain_idle if shared.draining else shared.config.keep_alive
        self.deadline = shared.now + timeout
        self.idle = True
        transport = self.transport
        data: bytes | None
        try:
            # What receive() does, without its coroutine: this is once per request.
            try:
                await transport.wait_request()
                data = transport.recv_nowait(HEAD_READ)
            except trio.ClosedResourceError:
                self._note_interrupt()
                data = None
            if data is None:
                data = await self.receive(HEAD_READ)
            else:
                self.bytes_in += len(data)
        except DeadlinePassed:
            data = self._last_read()
            if data is None:
                await self._linger()
                return False
        finally:
            self.idle = False
        if not data:
            transport.send_eof()
            return False
        self.buffer = data
        self.deadline = math.inf
        return True

    def _last_read(self) -> bytes | None:
        """What an idle client said while the end of its time was on the way to us, or None.

        A request that has come must be answered: the client can't tell that it is lost.
        """
        data = self.transport.recv_nowait(HEAD_READ)
        if data is not None:
            self.bytes_in += len(data)
        return data

    async def _rest_of_head(self) -> Head | None:
        """Read until the head is complete; None: the connection is over."""
        shared = self.shared
        while True:
            begun = not only_blank_lines(self.buffer)
            if begun and self.deadline == math.inf:
                self.deadline = shared.now + shared.config.header_timeout
            elif not begun and self.requests_left < shared.config.keep_alive_requests:
                return await self._head_after_blank_lines()
            scanned = len(self.buffer)
            try:
                data = await self.receive(HEAD_READ)
            except DeadlinePassed:
                raise RequestError(408, "the head did not come in time") from None
            if not data:
                self.transport.send_eof()
                return None
            self.buffer += data
            head = parse_head(self.buffer, shared.config, scanned)
            if head is not None:
                return head

    async def _head_after_blank_lines(self) -> Head | None:
        """An idle client that sent CRLFs is still an idle client."""
        blank = self.buffer
        if not await self._next_bytes():
            return None
        self.buffer = blank + self.buffer
        return parse_head(self.buffer, self.shared.config) or await self._rest_of_head()

    async def pull(self, body: BodyReader) -> bytes:
        """The next piece of a request's body; b"" at its end.

        Raises:
            RequestError: malformed, too large, or nothing came for ``body_timeout``.
            ClientGone: the client left before the end.
        """
        self._refuse_broken()
        while not body.done:
            piece, self.buffer = body.take(self.buffer)
            if piece or body.done:
                return piece
            self.deadline = self.shared.now + self.shared.config.body_timeout
            try:
                data = await self.receive(BODY_READ)
            except DeadlinePassed:
                raise RequestError(408, "the rest of the body did not come in time") from None
            finally:
                self.deadline = math.inf
            if not data:
                raise ClientGone("the client closed before the end of its body")
            self.buffer += data
        return b""

    def pull_nowait(self, body: BodyReader) -> bytes:
        """What has come of a body; RequestError as in ``pull``."""
        pieces = []
        while not body.done:
            piece, self.buffer = body.take(self.buffer)
            if not piece:
                break
            pieces.append(piece)
        return b"".join(pieces)

    def drop_buffered(self, body: BodyReader) -> None:
        """Discard what has come of a body that nobody will read."""
        try:
            while not body.done:
                piece, self.buffer = body.take(self.buffer)
                if not piece:
                    return
        except RequestError:  # the response is decided: this only means that it is the last
            return
