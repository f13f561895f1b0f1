"""Two connections joined: what one end says, the other hears, until both have said their last."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio

from balancer.http1.errors import ClientGone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from balancer.http1.exchange import Exchange, Tunnel
    from balancer.http1.transport import Transport

__all__ = ["join"]

PIECE = 65536


async def join(
    exchange: Exchange, client: Tunnel, upstream: Transport, early: bytes, idle: float
) -> None:
    """Pass bytes both ways; half-closes pass through.  The caller owns both transports.

    Args:
        exchange: counts the bytes.
        client: the client's side, and what it sent behind its request.
        upstream: the other side.
        early: what the upstream sent behind its 101.
        idle: seconds without a byte in either direction, after which the tunnel ends.
    """
    pulse = _Pulse(idle)
    async with trio.open_nursery() as nursery:
        pulse.watch(nursery)

        async def up() -> None:
            sent = await _pump(client.transport, upstream, client.buffered, pulse)
            exchange.count(sent, 0)

        async def down() -> None:
            sent = await _pump(upstream, client.transport, early, pulse)
            exchange.count(0, sent)

        try:
            async with trio.open_nursery() as pumps:
                pumps.start_soon(up)
                pumps.start_soon(down)
        except* ClientGone:  # either end: nothing more can be said to the other
            pass
        nursery.cancel_scope.cancel()


@final
class _Pulse:
    """Ends a tunnel in which nothing happens."""

    def __init__(self, idle: float) -> None:
        self._idle = idle
        self._last = trio.current_time()

    def beat(self) -> None:
        """Something has passed."""
        self._last = trio.current_time()

    def watch(self, nursery: trio.Nursery) -> None:
        """Cancel the nursery when it is time."""
        nursery.start_soon(self._watch, nursery.cancel_scope)

    async def _watch(self, scope: trio.CancelScope) -> None:
        # Looked at when it comes: moving a scope's deadline at every piece would cost 2 us.
        end = self._last + self._idle
        while end > trio.current_time():
            await trio.sleep_until(end)
            end = self._last + self._idle
        scope.cancel()


async def _pump(source: Transport, sink: Transport, data: bytes, pulse: _Pulse) -> int:
    """From one to the other until the end, which is passed on; how many bytes there were."""
    total = 0
    while True:
        while data:
            sent = sink.send_nowait(data)
            data = data[sent:]
            total += sent
            if data:
                await _undisturbed(sink.wait_writable)
        received = source.recv_nowait(PIECE)
        while received is None:
            await _undisturbed(source.wait_readable)
            received = source.recv_nowait(PIECE)
        if not received:
            sink.send_eof()
            await _undisturbed(sink.wait_posted)
            return total
        pulse.beat()
        data = received


async def _undisturbed(wait: Callable[[], Awaitable[None]]) -> None:
    try:
        await wait()
    except trio.ClosedResourceError:  # the reaper's, for a deadline that is none of ours
        await trio.lowlevel.checkpoint()
