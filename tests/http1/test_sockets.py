"""Real sockets: what only a kernel shows."""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from balancer.http1 import (
    ClientGone,
    Exchange,
    Http1Config,
    Http1Server,
    NullStats,
    SocketTransport,
)
from balancer.settings import TrustedPeers
from tests.http1.fakes import heartbeat, undated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from balancer.http1 import Handler

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@asynccontextmanager
async def served(
    handler: Handler, config: Http1Config | None = None
) -> AsyncIterator[tuple[trio.SocketStream, Http1Server]]:
    """A TCP client of a server; the server's end arrives as a worker gets it."""
    server = Http1Server(handler, config or Http1Config(), NullStats())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    accepted.setblocking(True)
    client.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heartbeat, server)
        nursery.start_soon(server.serve, accepted)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
        async with stream:
            with trio.fail_after(10):
                yield stream, server
        with trio.fail_after(5):
            while server.connections:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert accepted.fileno() == -1


async def hi(exchange: Exchange) -> None:
    assert isinstance(exchange.client, tuple)
    await exchange.respond(200, (), b"hi")


async def read_exactly(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await stream.receive_some(size - len(data))
        assert piece, data
        data += piece
    return data


async def read_to_end(stream: trio.SocketStream) -> bytes:
    return b"".join([piece async for piece in stream])


async def test_http_1_0_with_keep_alive_as_ab_does_it() -> None:
    request = (
        b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: 127.0.0.1:8000\r\n"
        b"User-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n"
    )
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi"
    size = len(answer) + len("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
    async with served(hi) as (stream, _):
        for _turn in range(5):
            await stream.send_all(request)
            assert undated(await read_exactly(stream, size)) == answer


async def test_byte_by_byte() -> None:
    async with served(hi) as (stream, _):
        for each in GET:
            await stream.send_all(bytes([each]))
            await trio.testing.wait_all_tasks_blocked()
        await stream.send_eof()
        assert (await read_to_end(stream)).endswith(b"\r\n\r\nhi")


async def test_close_is_seen_at_once_although_a_copy_of_the_socket_is_open() -> None:
    ours, theirs = socket.socketpair()
    copy = theirs.dup()
    with ours, copy:
        ours.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

        async def handler(exchange: Exchange) -> None:
            await exchange.respond(200, (), b"hi")

        server = Http1Server(handler, Http1Config(), NullStats())
        await server.serve(theirs)
        ours.setblocking(False)
        assert ours.recv(1000).endswith(b"hi")
        assert ours.recv(1000) == b""


async def test_a_client_that_still_uploads_gets_its_answer_and_no_reset() -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.respond(403, (), b"no")

    size = 65536 + 40000
    async with served(refuse) as (stream, _):
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        assert (await stream.receive_some()).endswith(b"\r\n\r\nno")
        await stream.send_all(b"x" * 40000)  # less than the lingering takes
        await trio.testing.wait_all_tasks_blocked()
        assert await read_to_end(stream) == b""  # a reset would raise here


async def test_garbage_gets_its_400_and_no_reset() -> None:
    async with served(hi) as (stream, _):
        await stream.send_all(b"\x16\x03\x01" + bytes(30000))
        assert (await read_to_end(stream)).startswith(b"HTTP/1.1 400 ")


async def test_a_broken_off_response_is_a_reset(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.start(200)
        await exchange.write(b"half")
        raise ZeroDivisionError

    async with served(handler) as (stream, _):
        await stream.send_all(GET.replace(b"1.1", b"1.0"))  # its only sign would be the end
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(stream)
    assert "ZeroDivisionError" in caplog.text


async def test_a_reset_by_the_client_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with served(hi) as (stream, _):
        await stream.send_all(GET)
        await stream.receive_some()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert not caplog.records


async def test_a_slow_reader_holds_the_handler_back() -> None:
    written = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal written
        await exchange.start(200, [(b"Content-Length", b"100000000")])
        while written < 100_000_000:
            await exchange.write(bytes(100_000))
            written += 100_000
        await exchange.finish()

    async with served(handler) as (stream, _):
        await stream.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        before = written
        assert before < 50_000_000
        received = sum([len(piece) async for piece in stream_until(stream, 99_000_000)])
        assert received >= 99_000_000
        assert written > before


async def stream_until(stream: trio.SocketStream, size: int) -> AsyncIterator[bytes]:
    while size > 0:
        piece = await stream.receive_some(1 << 20)
        assert piece
        size -= len(piece)
        yield piece


async def test_an_idle_timeout_closes_a_real_connection() -> None:
    async with served(hi, Http1Config(keep_alive=0.25)) as (stream, _):
        await stream.send_all(GET)
        assert (await read_to_end(stream)).endswith(b"hi")


async def test_a_write_that_nobody_reads_is_given_up() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.respond(200, (), bytes(50_000_000))

    async with served(handler, Http1Config(send_timeout=0.25)) as (stream, server):
        await stream.send_all(GET)
        while server.connections == 0:
            await trio.lowlevel.checkpoint()
        while server.connections:
            await trio.lowlevel.checkpoint()
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(stream)


async def test_waiting_for_the_client_to_leave() -> None:
    left = trio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.wait_gone()
        left.set()

    async with served(handler) as (stream, _):
        await stream.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        assert not left.is_set()
        await stream.send_eof()
        assert b" 500 " in await read_to_end(stream)
    assert left.is_set()


async def test_closing_twice_and_names_of_unix_sockets() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        transport = SocketTransport(theirs)
        assert (transport.peer, transport.local) == (None, None)
        transport.close()
        transport.close()
        transport.abort()
        assert theirs.fileno() == -1


async def test_a_connection_that_was_aborted_behind_its_response_is_over() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.respond(200, (), b"hi")
        exchange.abort()

    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(GET)
        await Http1Server(handler, Http1Config(), NullStats()).serve(theirs)
    assert theirs.fileno() == -1


@pytest.mark.parametrize("status", [199, 600])
async def test_a_status_that_none_is_becomes_500(status: int) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.respond(status)

    async with served(handler) as (stream, _):
        await stream.send_all(GET)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 500 ")


async def test_a_client_that_has_reset_is_not_taken_for_a_local_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    transport = SocketTransport(accepted)
    with pytest.raises(ClientGone):
        transport.recv_nowait(1)
    assert transport.peer == ("", 0)
    assert "" not in TrustedPeers(["unix:", "127.0.0.1"])
    transport.close()
