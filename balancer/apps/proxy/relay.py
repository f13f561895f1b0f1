"""An upstream's answer on its way to the client."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from balancer.apps.proxy.forward import VIA
from balancer.http1.exchange import ONE_SEND
from balancer.http1.responses import NOT_IN_TRAILERS
from balancer.upstream.errors import UpstreamError

if TYPE_CHECKING:
    from balancer.http1.exchange import Exchange
    from balancer.http1.replies import Reply
    from balancer.http1.responses import ResponseHead
    from balancer.upstream.connection import UpstreamConnection

__all__ = ["relay"]

VIA_LINE = b"Via: %b\r\n" % VIA


def is_whole(exchange: Exchange, reply: Reply, connection: UpstreamConnection) -> bool:
    """Whether all of an answer has come, as it has for most, or none of it has a body."""
    if not reply.has_body(exchange.method):
        return True
    length = reply.head.length
    return length is not None and length <= ONE_SEND and len(connection.buffer) >= length


def relay_whole(
    exchange: Exchange, reply: Reply, connection: UpstreamConnection, extra: bytes
) -> bytes | None:
    """Send such an answer on; what the kernel didn't take of it, as ``respond_nowait``."""
    head = _passed_on(reply.head, extra)
    length = reply.head.length
    if not length or not reply.has_body(exchange.method):
        return exchange.respond_nowait(reply.status, head, b"")
    body, connection.buffer = connection.buffer[:length], connection.buffer[length:]
    return exchange.respond_nowait(reply.status, head, body)


@lru_cache(maxsize=512)
def _passed_on(head: ResponseHead, extra: bytes) -> ResponseHead:
    return head._replace(lines=head.lines + VIA_LINE + extra)


async def relay(
    exchange: Exchange,
    reply: Reply,
    connection: UpstreamConnection,
    seconds: float,
    extra: bytes,
) -> bool:
    """Send an answer on, in the client's framing; whether its connection may be used again.

    An answer that breaks off breaks off for the client, too: its connection is reset, so that it
    can't be taken for complete.

    Args:
        exchange: the client's side.
        reply: the head of the answer.
        connection: where its body comes from.
        seconds: how long the upstream may be silent inside of a body.
        extra: lines of fields to add.

    Raises:
        ClientGone: it left, or reads too slowly.
        UpstreamError: the answer broke off.
    """
    head = _passed_on(reply.head, extra)
    body = connection.body(reply, exchange.method)
    assert body is not None  # else it is whole
    await exchange.start(reply.status, head)
    try:
        while not body.done:
            if connection.buffer and (piece := connection.pull_nowait(body)):
                await exchange.write(piece)
                continue
            await exchange.write(b"")  # the head must not wait for the body
            connection.expect(seconds)
            if piece := await connection.pull(body):
                await exchange.write(piece)
    except UpstreamError:
        exchange.abort()
        raise
    trailers = [field for field in body.trailers if field[0] not in NOT_IN_TRAILERS]
    await exchange.finish(trailers)
    return reply.persist and body.remaining() == 0
