"""Stream handlers over real sockets: what they need not do, because it is done for them."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from balancer.apps.stream import StreamService
from balancer.http1 import NullStats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from balancer.apps.stream import StreamHandler
    from balancer.http1.tally import Done


class Counts:
    def __init__(self) -> None:
        self.done: list[int] = []

    patience = 1

    def requests_done(self, done: Sequence[Done]) -> None:
        for status, seconds, _, _ in done:
            assert seconds >= 0
            self.done.append(status)


@asynccontextmanager
async def talking(
    handler: StreamHandler, stats: Counts | None = None, *, copied: bool = True
) -> AsyncIterator[tuple[trio.SocketStream, trio.CancelScope]]:
    """A client's stream to a handler; the scope is the worker's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
    service = StreamService("site:handler", handler, stats or NullStats())
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
    fd = served.detach()
    copies = [socket.socket(fileno=socket.dup(fd))] if copied else []  # the master's
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.serve, socket.SocketType(socket.AF_INET, 1, 0, fd))
        async with stream:
            with trio.fail_after(5):
                yield stream, nursery.cancel_scope
    for copy in copies:
        copy.close()


async def echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data.upper())


async def test_an_echo() -> None:
    stats = Counts()
    async with talking(echo, stats) as (client, _):
        await client.send_all(b"hello")
        assert await client.receive_some() == b"HELLO"
        await client.send_eof()
        assert await client.receive_some() == b""
    assert stats.done == [0]


async def test_returning_ends_the_connection_politely() -> None:
    async def handler(stream: trio.SocketStream) -> None:
        await stream.send_all(b"bye")

    async with talking(handler) as (client, _):
        await client.send_all(b"x" * 10_000)  # which the handler never reads
        assert await client.receive_some() == b"bye"
        assert await client.receive_some() == b""


@pytest.mark.parametrize("how", ["aclose", "send_eof"])
async def test_a_handler_may_end_it_itself(how: str) -> None:
    async def handler(stream: trio.SocketStream) -> None:
        await stream.send_all(b"bye")
        await getattr(stream, how)()

    async with talking(handler) as (client, _):
        assert await client.receive_some() == b"bye"


async def test_raising_resets_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(stream: trio.SocketStream) -> None:
        await stream.send_all(b"part")
        await stream.receive_some()
        raise ValueError("mine")

    async with talking(handler, copied=False) as (client, _):
        assert await client.receive_some() == b"part"
        await client.send_all(b"go on")
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
    assert "app site:handler: the handler failed" in caplog.text
    assert "ValueError: mine" in caplog.text


async def test_a_client_that_resets_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, stream)

    async with talking(handler) as (client, _):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert not caplog.records


async def test_who_is_cancelled_half_closes() -> None:
    async def handler(_: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with talking(handler) as (client, scope):
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        with trio.CancelScope(shield=True):
            assert await client.receive_some() == b""
