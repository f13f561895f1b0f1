"""One request through the proxy: attempts until one is answered, then the answer is relayed.

Most requests take the short way: the body has come with the head (or there is none), an idle
connection is there, and the answer fits into one read.  Then everything happens in the leader's
task, which parks while the upstream works: two sends and two receives per request, and no task.

What takes longer is the same code with more waits.  Only two things need tasks of their own: a body
that is still coming, because its answer may come first (RFC 9112 9.5), and a tunnel.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, final

import trio

from balancer.apps.proxy.forward import Client, Forwarder
from balancer.apps.proxy.key import cookie, key_reader
from balancer.apps.proxy.relay import relay
from balancer.apps.proxy.tunnel import join
from balancer.apps.proxy.upload import Upload
from balancer.core.retry import IDEMPOTENT, Failure, may_retry, status_of
from balancer.http1.errors import ClientGone, RequestError
from balancer.upstream.directory import NoEndpoint, Wish
from balancer.upstream.errors import ClientLeft, UpstreamError
from balancer.upstream.queue import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.apps.proxy.config import ProxyConfig
    from balancer.http1.exchange import Exchange
    from balancer.http1.replies import Reply
    from balancer.upstream.connection import UpstreamConnection
    from balancer.upstream.directory import Directory, Lease

__all__ = ["ProxyHandler"]

logger = logging.getLogger("balancer")

LOOP = RequestError(508, "this request has passed here before: the proxies form a circle")
NO_TRACE = RequestError(405, "TRACE is not passed on")
CONTENT_TYPE = (b"content-type", b"text/plain")


@final
class ProxyHandler:
    """Answers requests with what upstreams say; one for all connections of a worker."""

    def __init__(self, config: ProxyConfig, directory: Directory) -> None:
        self._config = config
        self._directory = directory
        self._read_key = key_reader(config.policy, config.forward.trusted)

    async def __call__(self, exchange: Exchange) -> None:
        """Pass one request on, and the answer back.

        Raises:
            RequestError: what the client gets instead (405, 502, 504, 508).
            ClientGone: it has left.
        """
        head = exchange.head
        forwarder = exchange.memo
        if type(forwarder) is not Forwarder:
            forwarder = exchange.memo = self._introduce(exchange)
        fields = forwarder.fields(head)
        if forwarder.looped:
            raise LOOP
        if head.method == "TRACE":
            raise NO_TRACE
        upload = Upload(exchange)
        request = b"%b %b HTTP/1.1\r\n%b%b%bx-request-id: %b\r\n\r\n" % (
            head.method.encode(),
            head.origin,
            fields,
            _upgrade(exchange),
            upload.framing,
            exchange.request_id.encode(),
        )
        try:
            await self._attempts(exchange, request, upload)
        except NoEndpoint as nobody:
            await _unavailable(exchange, nobody)
        except ClientLeft:
            raise ClientGone("the client has gone") from None

    def _introduce(self, exchange: Exchange) -> Forwarder:
        client, server = exchange.client, exchange.server
        host = client[0] if isinstance(client, tuple) else None
        port = server[1] if isinstance(server, tuple) else 0
        return Forwarder(Client(host, exchange.scheme, port), self._config.forward)

    async def _attempts(self, exchange: Exchange, request: bytes, upload: Upload) -> None:
        wish = self._wish(exchange)
        fresh = False
        while True:
            lease = self._directory.claim(wish) or await self._wait(exchange, wish)
            keep: UpstreamConnection | None = None
            try:
                extra = self._stick(exchange, wish, lease) if self._config.sticky else b""
                attempt = _Attempt(self._config, exchange, lease, extra)
                keep = await attempt.run(request, upload, fresh=fresh)
            except UpstreamError as error:
                lease.failed(error.failure)
                again = self._may_retry(exchange, upload, error, len(wish.tried))
                _log(exchange, lease, error, again=again)
                if not again:
                    raise _verdict(exchange, error) from None
                wish.tried.append(lease.endpoint)
                # others of the pool may be as old (RFC 9112 9.3.1)
                fresh = error.failure is Failure.STALE
            else:
                return
            finally:
                lease.end(keep)

    def _wish(self, exchange: Exchange) -> Wish:
        wish = Wish()
        if self._read_key is not None:
            wish.key = self._read_key(exchange)
        if self._config.sticky:
            wish.prefer = cookie(exchange, self._config.sticky)
        return wish

    async def _wait(self, exchange: Exchange, wish: Wish) -> Lease:
        ticket = Ticket()
        with _client_watched(exchange, ticket.abandon):
            return await self._directory.wait(wish, ticket)

    def _stick(self, exchange: Exchange, wish: Wish, lease: Lease) -> bytes:
        """The cookie that brings the client back, unless it has it already (RFC 6265 4.1)."""
        if wish.prefer == lease.token:
            return b""
        secure = b"; Secure" if exchange.scheme == "https" else b""
        line = b"Set-Cookie: %b=%b; Path=/; HttpOnly; SameSite=Lax%b\r\n"
        return line % (self._config.sticky, lease.token, secure)

    def _may_retry(
        self, exchange: Exchange, upload: Upload, error: UpstreamError, retries: int
    ) -> bool:
        return (
            retries < self._config.retries
            and not exchange.begun
            and may_retry(
                error.failure,
                idempotent=exchange.method in IDEMPOTENT,
                replayable=upload.replayable,
            )
            and self._directory.may_retry()
        )


@final
class _Attempt:
    """One try to get an answer from one endpoint."""

    def __init__(self, config: ProxyConfig, exchange: Exchange, lease: Lease, extra: bytes) -> None:
        self._config = config
        self._exchange = exchange
        self._lease = lease
        self._extra = extra

    async def run(
        self, request: bytes, upload: Upload, *, fresh: bool
    ) -> UpstreamConnection | None:
        """Ask, and relay the answer; the connection, if it may be used again.

        ``fresh``: not by a connection that has been idle.

        Raises:
            UpstreamError: there was none; nothing has been sent to the client, unless
                ``exchange.begun``.
        """
        connection = await self._lease.connect(fresh=fresh)
        kept = False
        try:
            with _client_watched(self._exchange, connection.abandon):
                kept = await self._converse(connection, request, upload)
        finally:
            if not kept:
                connection.close()
        return connection if kept else None

    async def _converse(
        self, connection: UpstreamConnection, request: bytes, upload: Upload
    ) -> bool:
        began = perf_counter()
        connection.expect(self._config.response_timeout)
        rest = connection.post_nowait(request + upload.begin())
        if rest:
            await connection.send(rest)
        if upload.complete:
            reply = await self._final(connection, parks=True)
        else:
            reply = await self._beside(connection, upload)
        self._lease.answered(reply.status, perf_counter() - began)
        if reply.status == 101:
            await self._switch(connection, reply)
            return False
        kept = await relay(
            self._exchange, reply, connection, self._config.response_timeout, self._extra
        )
        return kept and upload.complete and connection.usable

    async def _final(self, connection: UpstreamConnection, *, parks: bool) -> Reply:
        """The final response's head; interim ones are passed on (RFC 9110 15.2)."""
        while True:
            reply = await connection.reply(parks=parks)
            if not reply.interim:
                return reply
            if reply.status != 100:  # ours was sent when the body was first read
                await self._exchange.inform(reply.status, reply.fields)

    async def _beside(self, connection: UpstreamConnection, upload: Upload) -> Reply:
        """The body goes on its way while its answer may come, which ends it (RFC 9112 9.5)."""
        errors: list[Exception] = []
        replies: list[Reply] = []

        async def send() -> None:
            try:
                await upload.rest(connection, self._config.response_timeout)
            except UpstreamError:
                return  # it may have said why: the reader will hear, or meet the end
            except (RequestError, ClientGone) as error:  # the client's doing
                errors.append(error)
                nursery.cancel_scope.cancel()

        # Nothing is raised inside: it would come out in a group.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            try:
                replies.append(await self._final(connection, parks=False))
            except (UpstreamError, ClientLeft, ClientGone) as error:
                errors.append(error)
            nursery.cancel_scope.cancel()
        if replies:
            return replies[0]
        raise errors[0]

    async def _switch(self, connection: UpstreamConnection, reply: Reply) -> None:
        exchange = self._exchange
        if not exchange.upgrade_requested:
            raise UpstreamError(
                Failure.MALFORMED, "it switched protocols and nobody had asked for it"
            )
        connection.expect(None)
        tunnel = await exchange.upgrade(reply.fields)
        exchange.client_transport.watch(None)
        early, connection.buffer = connection.buffer, b""
        await join(exchange, tunnel, connection.transport, early, self._config.tunnel_timeout)


@final
class _client_watched:  # noqa: N801 - it is used as a function
    """Call ``abandon`` when the client leaves and nobody else would notice.

    Bytes or an end come from it while nobody waits for them.  An end behind other requests is no
    abort: it may be waiting for all of the answers.
    """

    __slots__ = ("_abandon", "_exchange")

    def __init__(self, exchange: Exchange, abandon: Callable[[], None]) -> None:
        self._exchange = exchange
        self._abandon = abandon

    def __enter__(self) -> None:
        self._exchange.client_transport.watch(self._stirs)

    def __exit__(self, *_: object) -> None:
        self._exchange.client_transport.watch(None)

    def _stirs(self) -> None:
        exchange = self._exchange
        if exchange.client_transport.ended and not exchange.client_pipelines():
            self._abandon()


def _verdict(exchange: Exchange, error: UpstreamError) -> RequestError | ClientGone:
    """What becomes of a request that failed for good."""
    if exchange.begun:  # and so the client has been cut off
        return ClientGone("the answer broke off")
    return RequestError(status_of(error.failure), f"the upstream failed: {error.failure.value}")


def _log(exchange: Exchange, lease: Lease, error: UpstreamError, *, again: bool) -> None:
    logger.log(
        logging.INFO if again else logging.WARNING,
        "upstream %s: %s%s (request %s)",
        lease.name,
        error.reason,
        "; trying again" if again else "",
        exchange.request_id,
    )


def _upgrade(exchange: Exchange) -> bytes:
    """The offer to leave HTTP, made anew (RFC 9110 7.8)."""
    if not exchange.upgrade_requested:
        return b""
    wanted = b", ".join([value for name, value in exchange.headers if name == b"upgrade"])
    return b"connection: upgrade\r\nupgrade: %b\r\n" % wanted


async def _unavailable(exchange: Exchange, nobody: NoEndpoint) -> None:
    """503, and when to come again."""
    text = f"503 Service Unavailable: {nobody.reason} (request {exchange.request_id})\n"
    fields = (
        CONTENT_TYPE,
        (b"retry-after", b"%d" % nobody.retry_after),
        (b"X-Request-ID", exchange.request_id.encode()),
    )
    await exchange.respond(503, fields, text.encode())
