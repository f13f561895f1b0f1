"""One connection: requests in, responses out, one after the other, in one task.

The loop is written for the request that comes alone on a kept connection: one wait, one receive,
one regular expression, the handler, one send.  No scope, no task, no clock of trio's is touched on
that way; the rest is in methods of its own.

Time is the reaper's (``Shared.now``, moved by every tick).  A wait has a deadline only as an
attribute; when it has passed, the reaper interrupts the transport.

How a connection ends:

* the client closed or vanished: we close;
* the client said it would close, we have all of its message and nothing else came: half-close and
  close at once, for it promised to send no more (RFC 9112 9.6);
* we decided (an error, a limit, a drain, a body nobody read): half-close, then discard for a
  while, because a close with unread data makes the kernel send a reset, and the reset can reach
  the client before it has read our answer;
* a response broke off: reset, so that the client can't take it for complete.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from time import perf_counter
from typing import TYPE_CHECKING, final

import trio

from balancer.core.logrecord import ABORTED, BATCH, CLOSED, KEPT, PlainAnswer, Record
from balancer.http1.errors import ClientGone, RequestError
from balancer.http1.exchange import Exchange, Phase
from balancer.http1.heads import only_blank_lines, parse_head
from balancer.http1.limit import RequestLimit
from balancer.http1.logged import FullyLoggedExchange, LoggedExchange, try_to_parse
from balancer.http1.responses import plain_answer, status_line

if TYPE_CHECKING:
    from balancer.http1.bodies import BodyReader
    from balancer.http1.config import Http1Config, Stats
    from balancer.http1.exchange import Handler
    from balancer.http1.heads import Head
    from balancer.http1.transport import Transport

__all__ = ["Connection", "Shared"]

logger = logging.getLogger(__name__)

HEAD_READ = 16384
BODY_READ = 65536
SERVER_ERROR = RequestError(500, "the server failed to answer this request")
CLIENT_GONE = 499
"""Counted, never sent: nginx's status for a client that left before its answer."""
DONE = Phase.DONE
TURNS = 16
"""A client that pipelines gives way to the others after this many requests."""


@final
@dataclass(slots=True)
class Shared:
    """What all connections of a worker have in common."""

    handler: Handler
    config: Http1Config
    stats: Stats
    now: float = 0.0
    """The reaper's clock, in seconds; the zero means nothing."""
    draining: bool = False
    date: bytes = b""
    _prefixes: dict[int, bytes] = field(default_factory=dict)

    def set_date(self, unix_time: float) -> None:
        """Render the Date field, once a second."""
        date = formatdate(unix_time, usegmt=True).encode("ascii")
        if date != self.date:
            self.date = date
            self._prefixes.clear()

    def prefix(self, status: int) -> bytes:
        """Status line and Date."""
        prefix = self._prefixes.get(status)
        if prefix is None:
            prefix = self._prefixes[status] = b"%bDate: %b\r\n" % (status_line(status), self.date)
        return prefix


@final
class DeadlinePassed(Exception):  # noqa: N818 - an event between two methods here
    """The reaper woke a wait because its deadline passed."""


@final
class Connection:
    """One connection; ``run`` serves it to its end.  The transport's owner closes it."""

    __slots__ = (
        "_accounted",
        "_broken",
        "buffer",
        "bytes_in",
        "bytes_out",
        "deadline",
        "idle",
        "limit",
        "memo",
        "requests_left",
        "send_deadline",
        "shared",
        "transport",
    )

    def __init__(self, transport: Transport, shared: Shared) -> None:
        self.transport = transport
        self.shared = shared
        self.buffer = b""
        self.requests_left = shared.config.keep_alive_requests
        """How many more requests this connection may bring."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.memo: object = None
        """The handler's, see ``Exchange.memo``."""
        self.idle = False
        """Waiting for the first byte of a request: nobody is owed anything."""
        self.deadline = math.inf
        self.send_deadline = math.inf
        self.limit: RequestLimit | None = None
        """The clock of the request in progress, where requests have one."""
        self._accounted = 0
        self._broken = False

    async def run(self) -> None:
        """Serve requests until the connection ends, and half-close or abort it.

        Raises nothing that a peer or a handler caused.
        """
        try:
            await self._serve()
        except ClientGone:
            self.transport.close()
        except BaseException:  # cancelled, between two responses
            self.transport.send_eof()
            raise

    async def _serve(self) -> None:
        shared = self.shared
        stats = shared.stats
        config = shared.config
        handler = shared.handler
        if config.request_timeout:
            handler = self.limit = RequestLimit(shared, handler)
        make_exchange: type[Exchange] = Exchange
        log = config.access
        if log is not None:
            records = log.records
            make_exchange = FullyLoggedExchange if log.wants_heads else LoggedExchange
            peer = self.transport.peer  # while the kernel still knows: after a reset it doesn't
        turns = 0
        if not await self._first_bytes():
            return
        while True:
            try:
                head = parse_head(self.buffer, config)
                if head is None:
                    head = await self._rest_of_head()
                    if head is None:
                        return
                if config.max_body and head.content_length > config.max_body:
                    raise RequestError(413, "the body is larger than this server allows")
            except RequestError as error:
                await self._refuse(error)
                return
            began = perf_counter()
            self.deadline = math.inf
            self.buffer = self.buffer[head.size :]
            self.requests_left -= 1
            exchange = make_exchange(self, head)
            try:
                await handler(exchange)
            except Exception as error:  # noqa: BLE001 - logged there, with its traceback
                goes_on = await self._failed(exchange, error)
            except BaseException:  # cancelled
                self._cancelled(exchange)
                if log is not None:
                    assert isinstance(exchange, LoggedExchange)
                    ended = perf_counter()
                    end = ABORTED if self._broken else CLOSED
                    log.add(Record(head, exchange, ended - began, ended, peer, end))
                raise
            else:
                if exchange.phase is DONE and exchange.body_read:
                    goes_on = exchange.persist
                else:
                    goes_on = await self._settle(exchange)
            received = self.bytes_in - len(self.buffer)
            ended = perf_counter()
            stats.request_done(
                exchange.status,
                ended - began,
                received - self._accounted,
                self.bytes_out,
            )
            if log is not None:
                end = ABORTED if self._broken else KEPT if goes_on else CLOSED
                # A Record in all but name, which would be a call; it is taken apart by position.
                records.append((head, exchange, ended - began, ended, peer, end))  # type: ignore[arg-type]
                if len(records) >= BATCH:
                    log.flush()
            self._accounted = received
            self.bytes_out = 0
            if not goes_on:
                await self._end(exchange, head)
                return
            if self.buffer:
                turns += 1
                if turns % TURNS == 0:
                    await trio.lowlevel.checkpoint()
            elif not await self._next_bytes():
                return

    # receiving

    async def receive(self, limit: int) -> bytes:
        """Wait for bytes, at most until ``self.deadline``; b"" at the end.

        Raises:
            DeadlinePassed: the deadline is over.
            ClientGone: the connection broke.
        """
        transport = self.transport
        while True:
            try:
                await transport.wait_readable()
            except trio.ClosedResourceError:
                self._note_interrupt()
                continue
            data = transport.recv_nowait(limit)
            if data is not None:
                self.bytes_in += len(data)
                return data

    def _note_interrupt(self) -> None:
        """A wait was interrupted: raise why, or return when it was not for its sake."""
        if self._broken:
            raise ClientGone("the connection was aborted") from None
        if self.shared.now >= self.deadline:
            raise DeadlinePassed from None

    async def receive_undisturbed(self, limit: int) -> bytes:
        """``receive`` without a deadline, beside a send that has one."""
        self.deadline = math.inf
        self._refuse_broken()
        return await self.receive(limit)

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

    async def _first_bytes(self) -> bool:
        """Fresh from accept: data is usually there already, so try first."""
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
                elif data is None:
                    await self._refuse(RequestError(408, "no request came in time"))
                if data is None:
                    return False
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

    # sending

    async def send(self, data: bytes) -> None:
        """Send everything; the wait for the kernel to take it is the backpressure.

        Raises:
            ClientGone: the connection broke, or the client took nothing for ``send_timeout``.
        """
        self._refuse_broken()
        transport = self.transport
        sent = transport.send_nowait(data)
        self.bytes_out += sent
        if sent < len(data):
            await self._send_rest(memoryview(data)[sent:])

    async def _send_rest(self, rest: memoryview) -> None:
        shared = self.shared
        self._broken = True  # until all is sent: a cancelled write leaves half a message
        try:
            while rest:
                self.send_deadline = shared.now + shared.config.send_timeout
                await self._wait_writable()
                sent = self.transport.send_nowait(rest)
                self.bytes_out += sent
                rest = rest[sent:]
        finally:
            self.send_deadline = math.inf
        self._broken = False

    async def _wait_writable(self) -> None:
        while True:
            try:
                await self.transport.wait_writable()
            except trio.ClosedResourceError:
                if self.shared.now >= self.send_deadline:
                    self.abort()
                    raise ClientGone("the client does not read") from None
            else:
                return

    def _refuse_broken(self) -> None:
        if self._broken:
            raise ClientGone("the connection was aborted, or a write to it cancelled")

    def abort(self) -> None:
        """Reset the connection: a response broke off."""
        self._broken = True
        self.transport.abort()

    # ending

    async def _failed(self, exchange: Exchange, error: Exception) -> bool:
        """A handler raised: answer what can still be answered; whether the connection goes on.

        It does where the response was complete: it may have promised that, and frameworks raise
        again what they have just answered with a 500 of their own.
        """
        cause = _peers_part(error)
        if cause is None:
            _complain("the handler failed on", exchange, error)
        if isinstance(cause, ClientGone) or self._broken:
            exchange.status = exchange.status or CLIENT_GONE
            self.abort()
        elif not exchange.begun:
            await self._answer(exchange, cause or SERVER_ERROR)
        elif not exchange.complete:
            self.abort()
        elif exchange.phase is DONE and cause is None:
            return exchange.persist and await self._discard(exchange)
        return False

    def _cancelled(self, exchange: Exchange) -> None:
        """A reset shows that a response is not complete; a tunnel's end may be in good order."""
        if exchange.phase is Phase.TUNNEL and not self._broken:
            self.transport.send_eof()
        else:
            self.abort()

    async def _settle(self, exchange: Exchange) -> bool:
        """The handler returned, but not in the usual way; whether the connection goes on."""
        if exchange.phase is Phase.TUNNEL:
            return False
        if self._broken:  # the handler's doing: it aborted, or cancelled a write and went on
            self.abort()
            return False
        if not exchange.begun:
            _complain("the handler gave no response to", exchange)
            await self._answer(exchange, SERVER_ERROR)
            return False
        if not exchange.complete:
            _complain("the handler broke off its response to", exchange)
            self.abort()
            return False
        return exchange.persist and await self._discard(exchange)

    async def _discard(self, exchange: Exchange) -> bool:
        try:
            return await exchange.discard(self.shared.config.linger_bytes)
        except (RequestError, ClientGone):  # the response is out: it was the last one
            return False

    async def _answer(self, exchange: Exchange, error: RequestError) -> None:
        exchange.status = error.status
        request_id = exchange.request_id if error.status >= 500 else ""
        head, body = self._plain(error, request_id, exchange.method)
        if isinstance(exchange, LoggedExchange):
            exchange.answered(head, body)
        with suppress(ClientGone):
            await self.send(head + body)

    async def _refuse(self, error: RequestError) -> None:
        """Answer a request that has no exchange, and end the connection."""
        config = self.shared.config
        log = config.access
        request_id = config.ids.next() if error.status >= 500 else ""
        head, body = self._plain(error, request_id, "GET")
        received = self.bytes_in - self._accounted
        self.shared.stats.request_done(error.status, 0.0, received, len(head) + len(body))
        if log is not None:
            request = try_to_parse(self.buffer, config)
            answer = PlainAnswer(error.status, len(body), request_id, head)
            log.add(Record(request, answer, 0.0, perf_counter(), self.transport.peer))
        await self.send(head + body)
        await self._linger()

    def _plain(self, error: RequestError, request_id: str, method: str) -> tuple[bytes, bytes]:
        return plain_answer(error, self.shared.prefix(error.status), request_id, method)

    async def _end(self, exchange: Exchange, head: Head) -> None:
        """The last response was sent, or broke off."""
        if self._broken:
            return
        if self.nothing_follows(exchange, head) or exchange.phase is Phase.TUNNEL:
            self.transport.send_eof()
        else:
            await self._linger()

    def nothing_follows(self, exchange: Exchange, head: Head) -> bool:
        """The client promised to send nothing after this request, and we have read all of it."""
        return not head.keep_alive and exchange.body_read and not self.buffer

    async def _linger(self) -> None:
        """Half-close, then discard what the client had sent before it could see that."""
        config = self.shared.config
        self.transport.send_eof()
        self.deadline = self.shared.now + config.linger
        budget = config.linger_bytes
        try:
            while budget > 0:
                data = await self.receive(HEAD_READ)
                if not data:
                    return
                budget -= len(data)
        except (DeadlinePassed, ClientGone):
            return


def _peers_part(error: Exception) -> RequestError | ClientGone | None:
    """The peer's fault, when an exception (or a group of them) is nothing else."""
    if isinstance(error, RequestError | ClientGone):
        return error
    if isinstance(error, ExceptionGroup):
        parts = [_peers_part(each) for each in error.exceptions]
        return parts[0] if all(parts) else None
    return None


def _complain(what: str, exchange: Exchange, error: Exception | None = None) -> None:
    logger.error(
        "%s %s %s (request %s)",
        what,
        exchange.method,
        exchange.target.decode("latin-1"),
        exchange.request_id,
        exc_info=error,
    )
