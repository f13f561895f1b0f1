"""An upstream's answer on its way to the client."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from balancer.apps.proxy.forward import NAME
from balancer.http1.exchange import ONE_SEND
from balancer.http1.replies import REMEMBERED
from balancer.http1.responses import BODILESS, NOT_IN_TRAILERS
from balancer.upstream.errors import UpstreamError

if TYPE_CHECKING:
    from balancer.http1.exchange import Exchange
    from balancer.http1.replies import Reply
    from balancer.http1.responses import ResponseHead
    from balancer.upstream.connection import UpstreamConnection

__all__ = ["extra_fields", "relay", "relay_nowait"]

VIA_LINE = b"Via: 1.1 %b\r\n" % NAME
OLD_VIA_LINE = b"Via: 1.0 %b\r\n" % NAME


def relay_nowait(
    exchange: Exchange, reply: Reply, connection: UpstreamConnection, extra: bytes
) -> bytes | None:
    """Send an answer on that is complete, as most are when their heads have come.

    Returns:
        What the kernel didn't take of it, which is b"" as a rule; None: it is for ``relay``.
    """
    status = reply.status
    body = b""
    if status not in BODILESS and exchange.method != "HEAD":
        length, buffer = reply.head.length, connection.buffer
        if length is None or length > ONE_SEND or len(buffer) < length:
            return None
        if length == len(buffer):
            body, connection.buffer = buffer, b""
        else:
            body, connection.buffer = buffer[:length], buffer[length:]
    return exchange.respond_nowait(status, _passed_on(reply, extra), body) or b""


def extra_fields(extra: bytes) -> list[tuple[bytes, bytes]]:
    """Via and the lines of ``extra``, apart, for a 101 (which is HTTP/1.1)."""
    lines = (VIA_LINE + extra).split(b"\r\n")[:-1]
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]


def _passed_on(reply: Reply, extra: bytes) -> ResponseHead:
    """What is sent on of a head."""
    head = reply.head
    add = _add if len(head.lines) > REMEMBERED else _add_again
    return add(head, VIA_LINE if reply.modern else OLD_VIA_LINE, extra)


def _add(head: ResponseHead, via: bytes, extra: bytes) -> ResponseHead:
    return head._replace(lines=head.lines + via + extra)


# as the heads themselves: a server that says the same again is read once
_add_again = lru_cache(maxsize=512)(_add)


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
    head = _passed_on(reply, extra)
    body = connection.body(reply, exchange.method)
    assert body is not None  # else it is complete
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
        if exchange.begun:  # else the client gets a 502
            exchange.abort()
        raise
    trailers = [field for field in body.trailers if field[0] not in NOT_IN_TRAILERS]
    await exchange.finish(trailers)
    return reply.persist and body.remaining() == 0
