"""One attempt at one endpoint: ask, and relay the answer.

The request's body may still be coming while the answer does, and the answer may be that the
connection leaves HTTP: these two need tasks of their own.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import trio

from balancer.apps.proxy.forward import answers_offer
from balancer.apps.proxy.relay import extra_fields, relay, relay_nowait
from balancer.apps.proxy.tunnel import join
from balancer.core.retry import Failure
from balancer.http1.errors import ClientGone, RequestError
from balancer.upstream.errors import ClientLeft, UpstreamError

if TYPE_CHECKING:
    from balancer.apps.proxy.config import ProxyConfig
    from balancer.apps.proxy.upload import Nothing, Upload
    from balancer.http1.exchange import Exchange
    from balancer.http1.replies import Reply
    from balancer.upstream.connection import UpstreamConnection
    from balancer.upstream.directory import Lease

__all__ = ["attempt"]

SWITCHING = 101
CONTINUE = 100


async def attempt(
    config: ProxyConfig,
    exchange: Exchange,
    connection: UpstreamConnection,
    lease: Lease,
    request: bytes,
    upload: Upload | Nothing,
    extra: bytes,
) -> bool:
    """Ask, and relay the answer; whether the connection may be used again.

    Raises:
        UpstreamError: there was none; nothing has been sent to the client, unless
            ``exchange.begun``.
    """
    seconds = config.response_timeout
    began = perf_counter()
    connection.expect(seconds)
    rest = connection.post_nowait(request)
    if rest:
        await connection.send(rest)
    if upload.complete:
        reply = await connection.reply()
        if reply.status < SWITCHING or reply.interim:
            reply = await _final(exchange, connection, reply, parks=True)
    else:
        reply = await _beside(config, exchange, connection, upload)
    exchange.upstream_seconds = took = perf_counter() - began
    lease.answered(reply.status, took)
    if reply.status == SWITCHING:
        await _switch(config, exchange, connection, reply, extra)
        return False
    unsent = relay_nowait(exchange, reply, connection, extra)
    if unsent is None:
        kept = await relay(exchange, reply, connection, seconds, extra)
        return kept and upload.sent
    if unsent:
        await exchange.send_rest(unsent)
    return reply.persist and upload.sent


async def _final(
    exchange: Exchange, connection: UpstreamConnection, reply: Reply, *, parks: bool
) -> Reply:
    """The final response's head; interim ones are passed on (RFC 9110 15.2)."""
    while reply.interim:
        if reply.status != CONTINUE or not exchange.head.expect_continue:  # that was ours
            await exchange.inform(reply.status, reply.fields)
        reply = await connection.reply(parks=parks)
    return reply


async def _beside(
    config: ProxyConfig,
    exchange: Exchange,
    connection: UpstreamConnection,
    upload: Upload | Nothing,
) -> Reply:
    """The body goes on its way while its answer may come, which ends it (RFC 9112 9.5)."""
    errors: list[Exception] = []
    replies: list[Reply] = []

    async def send() -> None:
        try:
            await upload.rest(connection, config.response_timeout)
        except UpstreamError:
            return  # it may have said why: the reader will hear, or meet the end
        except (RequestError, ClientGone) as error:  # the client's doing
            errors.append(error)
            nursery.cancel_scope.cancel()

    # Nothing is raised inside: it would come out in a group.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        try:
            reply = await connection.reply(parks=False)
            replies.append(await _final(exchange, connection, reply, parks=False))
        except (UpstreamError, ClientLeft, ClientGone) as error:
            errors.append(error)
        nursery.cancel_scope.cancel()
    if replies:
        return replies[0]
    raise errors[0]


async def _switch(
    config: ProxyConfig,
    exchange: Exchange,
    connection: UpstreamConnection,
    reply: Reply,
    extra: bytes,
) -> None:
    if not exchange.upgrade_requested or not answers_offer(reply.fields, exchange.headers):
        raise UpstreamError(Failure.MALFORMED, "it switched protocols and nobody had asked for it")
    if not exchange.body_read:
        raise UpstreamError(
            Failure.MALFORMED, "it switched protocols before it had the whole request"
        )
    connection.expect(None)
    tunnel = await exchange.upgrade((*reply.fields, *extra_fields(extra)))
    exchange.client_transport.watch(None)
    early, connection.buffer = connection.buffer, b""
    await join(exchange, tunnel, connection.transport, early, config.tunnel_timeout)
