"""One request through the proxy: attempts until one is answered, then the answer is relayed.

Most requests take the short way: the body has come with the head (or there is none), an idle
connection is there, and the answer fits into one read.  Then everything happens in the leader's
task, which parks while the upstream works: two sends and two receives per request, and no task.
A coroutine less between here and the wait is half a microsecond, so there are few.

What takes longer is the same code with more waits.  Only two things need tasks of their own: a body
that is still coming, because its answer may come first (RFC 9112 9.5), and a tunnel.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, final

from balancer.apps.proxy.attempt import attempt
from balancer.apps.proxy.forward import offer, spend_hop
from balancer.apps.proxy.key import cookie, key_reader
from balancer.apps.proxy.session import Session
from balancer.apps.proxy.upload import upload_of
from balancer.core.retry import IDEMPOTENT, Failure, costs, may_retry, status_of
from balancer.http1.errors import ClientGone, RequestError
from balancer.upstream.directory import NoEndpoint, Wish
from balancer.upstream.errors import ClientLeft, UpstreamError
from balancer.upstream.queue import Ticket

if TYPE_CHECKING:
    from balancer.apps.proxy.config import ProxyConfig
    from balancer.apps.proxy.upload import Nothing, Upload
    from balancer.http1.exchange import Exchange
    from balancer.upstream.connection import UpstreamConnection
    from balancer.upstream.directory import Directory, Lease

__all__ = ["ProxyHandler"]

logger = logging.getLogger("balancer")

LOOP = RequestError(508, "this request has passed here before: the proxies form a circle")
NO_TRACE = RequestError(405, "TRACE is not passed on")
NUL = RequestError(400, "the path has a NUL, which many programs take for its end")
LIMITED = frozenset({"TRACE", "OPTIONS"})
"""Whose way Max-Forwards can limit."""
CONTENT_TYPE = (b"content-type", b"text/plain")
ANYWHERE = Wish()


@final
class ProxyHandler:
    """Answers requests with what upstreams say; one for all connections of a worker."""

    def __init__(self, config: ProxyConfig, directory: Directory) -> None:
        self._config = config
        self._directory = directory
        self._read_key = key_reader(config.policy, config.forward.trusted)
        self._wishes = self._read_key is not None or bool(config.sticky)

    async def __call__(self, exchange: Exchange) -> None:
        """Pass one request on, and the answer back.

        Raises:
            RequestError: what the client gets instead (400, 405, 502, 504, 508).
            ClientGone: it has left.
        """
        head = exchange.head
        session = exchange.memo
        if type(session) is not Session:
            session = exchange.memo = Session.of(exchange, self._config.forward)
        forwarder = session.forwarder
        fields = forwarder.fields(head)
        if forwarder.looped:
            raise LOOP
        if head.method in LIMITED:
            if head.method == "TRACE":
                raise NO_TRACE
            spent = spend_hop(fields)
            if spent is None:
                await exchange.respond(200)
                return
            fields = spent
        if b"%00" in head.origin and b"%00" in exchange.path:
            raise NUL
        upload = upload_of(exchange)
        request = b"%b %b HTTP/1.1\r\n%b%b%bx-request-id: %b\r\n\r\n" % (
            head.method.encode(),
            head.origin,
            fields,
            _upgrade(exchange) if head.upgrade else b"",
            upload.framing,
            exchange.identify(forwarder.request_id, session.host).encode(),
        )
        try:
            await self._attempts(exchange, session, request, upload)
        except NoEndpoint as nobody:
            await _unavailable(exchange, nobody)
        except ClientLeft:
            raise ClientGone("the client has gone") from None
        finally:
            session.rest()

    async def _attempts(
        self, exchange: Exchange, session: Session, request: bytes, upload: Upload | Nothing
    ) -> None:
        wish = self._wish(exchange) if self._wishes else ANYWHERE
        fresh = False
        while True:
            whole = request + upload.begin()  # before anybody is troubled by a malformed body
            lease = self._directory.claim(wish) or await self._wait(exchange, session, wish)
            exchange.upstream += f",{lease.name}" if wish.tried else lease.name
            connection: UpstreamConnection | None = None
            kept: UpstreamConnection | None = None
            try:
                connection = None if fresh else lease.idle()
                if connection is not None:
                    session.busy(exchange, connection)
                else:
                    connection = await lease.connect()
                    session.busy(exchange, connection)
                    session.stirs()  # it may have left meanwhile
                extra = self._stick(exchange, wish, lease) if self._config.sticky else b""
                reusable = await attempt(
                    self._config, exchange, connection, lease, whole, upload, extra
                )
                if reusable and not session.forwarder.private:
                    kept = connection
            except UpstreamError as error:
                lease.failed(error.failure)
                again = self._may_retry(exchange, upload, error, len(wish.tried))
                _log(exchange, lease, error, again=again)
                if not again:
                    raise _verdict(exchange, error) from None
                wish = wish.elsewhere(lease.endpoint, costs=costs(error.failure))
                # others of the pool may be as old (RFC 9112 9.3.1)
                fresh = error.failure is Failure.STALE
            else:
                return
            finally:
                if kept is None and connection is not None:
                    connection.close()
                lease.end(kept)

    def _wish(self, exchange: Exchange) -> Wish:
        key = self._read_key(exchange) if self._read_key is not None else b""
        sticky = self._config.sticky
        return Wish(key, cookie(exchange, sticky) if sticky else b"")

    async def _wait(self, exchange: Exchange, session: Session, wish: Wish) -> Lease:
        ticket = Ticket()
        session.busy(exchange, ticket)
        return await self._directory.wait(wish, ticket)

    def _stick(self, exchange: Exchange, wish: Wish, lease: Lease) -> bytes:
        """The cookie that brings the client back, unless it has it already (RFC 6265 4.1)."""
        if wish.prefer == lease.token:
            return b""
        secure = b"; Secure" if exchange.scheme == "https" else b""
        line = b"Set-Cookie: %b=%b; Path=/; HttpOnly; SameSite=Lax%b\r\n"
        return line % (self._config.sticky, lease.token, secure)

    def _may_retry(
        self, exchange: Exchange, upload: Upload | Nothing, error: UpstreamError, retries: int
    ) -> bool:
        return (
            retries < self._config.retries
            and not exchange.begun
            and may_retry(
                error.failure,
                idempotent=exchange.method in IDEMPOTENT,
                replayable=upload.replayable,
            )
            and (not costs(error.failure) or self._directory.may_retry())
        )


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
    wanted = offer(exchange.headers)
    return b"connection: upgrade\r\nupgrade: %b\r\n" % wanted if wanted else b""


async def _unavailable(exchange: Exchange, nobody: NoEndpoint) -> None:
    """503, and when to come again."""
    text = f"503 Service Unavailable: {nobody.reason} (request {exchange.request_id})\n"
    fields = (
        CONTENT_TYPE,
        (b"retry-after", b"%d" % nobody.retry_after),
        (b"X-Request-ID", exchange.request_id.encode()),
    )
    await exchange.respond(503, fields, text.encode())
