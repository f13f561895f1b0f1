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
from time import perf_counter
from typing import TYPE_CHECKING, final

import trio

from balancer.core.logrecord import ABORTED, BATCH, CLOSED, KEPT, PlainAnswer, Record
from balancer.http1.errors import ClientGone, RequestError
from balancer.http1.exchange import Exchange
from balancer.http1.heads import parse_head
from balancer.http1.limit import RequestLimit
from balancer.http1.logged import FullyLoggedExchange, LoggedExchange, try_to_parse
from balancer.http1.phase import DONE, TUNNEL
from balancer.http1.reader import Reader
from balancer.http1.responses import plain_answer

if TYPE_CHECKING:
    from balancer.core.logrecord import Sink
    from balancer.http1.head import Head
    from balancer.http1.shared import Shared
    from balancer.http1.transport import Address, Transport

__all__ = ["Connection"]

logger = logging.getLogger(__name__)

BODY_READ = 65536
SERVER_ERROR = RequestError(500, "the server failed to answer this request")
CLIENT_GONE = 499
"""Counted, never sent: nginx's status for a client that left before its answer."""
TURNS = 16
"""A client that pipelines gives way to the others after this many requests."""


@final
class Connection(Reader):
    """One connection; ``run`` serves it to its end.  The transport's owner closes it."""

    __slots__ = ("_accounted", "began", "handshake_took", "limit", "memo", "pipelines")

    def __init__(self, transport: Transport, shared: Shared) -> None:
        super().__init__(transport, shared)
        self.memo: object = None
        """The handler's, see ``Exchange.memo``."""
        self.limit: RequestLimit | None = None
        """The clock of the request in progress, where requests have one."""
        self.began = 0.0
        """When the head of the request in progress was complete, by ``perf_counter``."""
        self.handshake_took = 0.0
        """Seconds of a request that ended in a tunnel: its life says nothing of the server."""
        self.pipelines = False
        """The client has sent a request before it had the answer to another."""
        self._accounted = 0

    async def run(self) -> None:
        """Serve requests until the connection ends, and half-close or abort it.

        Raises nothing that a peer or a handler caused.
        """
        try:
            try:
                await self._serve()
            except RequestError as error:
                await self._refuse(error)
            await self.transport.wait_posted()  # or the close would cut it
        except ClientGone:
            self.transport.close()
        except BaseException:  # cancelled, between two responses
            self.transport.send_eof()
            raise

    async def _serve(self) -> None:
        """The loop; RequestError: what came can't be answered by a handler."""
        shared = self.shared
        tally = shared.tally
        done, patience = tally.done, tally.patience
        config = shared.config
        handler = shared.handler
        if config.request_timeout:
            handler = self.limit = RequestLimit(shared, handler)
        log = config.access
        make_exchange = _kind_of_exchange(log)
        # while the kernel still knows: after a reset it doesn't
        peer = None if log is None else self.transport.peer
        turns = 0
        if not await self._first_bytes():
            return
        while True:
            head = parse_head(self.buffer, config) or await self._rest_of_head()
            if head is None:
                return
            if config.max_body and head.content_length > config.max_body:
                raise RequestError(413, "the body is larger than this server allows")
            self.began = began = perf_counter()
            self.deadline = math.inf
            self.buffer = self.buffer[head.size :]
            self.requests_left -= 1
            exchange = make_exchange(self, head)
            try:
                await handler(exchange)
            except Exception as error:  # noqa: BLE001 - logged there, with its traceback
                goes_on = await self._failed(exchange, error)
            except BaseException:  # cancelled
                self._cancelled(exchange, log, peer)
                raise
            else:
                if exchange.phase is DONE and exchange.body_read:
                    goes_on = exchange.persist
                else:
                    goes_on = await self._settle(exchange)
            received = self.bytes_in - len(self.buffer)
            ended = perf_counter()
            took = self.handshake_took if exchange.phase is TUNNEL else ended - began
            done.append((exchange.status, took, received - self._accounted, self.bytes_out))
            if len(done) >= patience:
                tally.flush()
            if log is not None:
                end = ABORTED if self._broken else KEPT if goes_on else CLOSED
                _note(log, (head, exchange, ended - began, ended, peer, end))
            self._accounted = received
            self.bytes_out = 0
            if not goes_on:
                await self._end(exchange, head)
                return
            if self.buffer:
                self.pipelines = True
                turns += 1
                if turns % TURNS == 0:
                    await trio.lowlevel.checkpoint()
            elif not await self._next_bytes():
                return

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

    def _cancelled(self, exchange: Exchange, log: Sink | None, peer: Address) -> None:
        """A reset shows that a response is not complete; a tunnel's end may be in good order."""
        if exchange.phase is TUNNEL and not self._broken:
            self.transport.send_eof()
        else:
            self.abort()
        if log is not None:
            assert isinstance(exchange, LoggedExchange)
            ended = perf_counter()
            end = ABORTED if self._broken else CLOSED
            log.add(Record(exchange.head, exchange, ended - self.began, ended, peer, end))

    async def _settle(self, exchange: Exchange) -> bool:
        """The handler returned, but not in the usual way; whether the connection goes on."""
        if exchange.phase is TUNNEL:
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
        self.shared.tally.add(error.status, 0.0, received, len(head) + len(body))
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
        if self.nothing_follows(exchange, head) or exchange.phase is TUNNEL:
            self.transport.send_eof()
        else:
            await self._linger()

    def nothing_follows(self, exchange: Exchange, head: Head) -> bool:
        """The client promised to send nothing after this request, and we have read all of it."""
        return not head.keep_alive and exchange.body_read and not self.buffer


def _note(log: Sink, record: tuple[object, ...]) -> None:
    """Log a Record in all but name, which would be a call: it is taken apart by position."""
    records = log.records
    records.append(record)  # type: ignore[arg-type]  # see above
    if len(records) >= BATCH:
        log.flush()


def _kind_of_exchange(log: Sink | None) -> type[Exchange]:
    """As much as the access log has to know, and no more."""
    if log is None:
        return Exchange
    return FullyLoggedExchange if log.wants_heads else LoggedExchange


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
