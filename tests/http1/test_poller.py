"""What edges do not tell, and what a copy of a socket would tell too late."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from balancer.http1.poller import PolledTransport, Poller
from balancer.http1.transport import receive, send_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def polled() -> AsyncIterator[tuple[socket.socket, PolledTransport]]:
    """A client's socket, and the transport over the other end of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    poller = Poller()
    transport = PolledTransport(accepted, poller)
    with client:
        async with trio.open_nursery() as nursery:
            poller.start(nursery)
            with trio.fail_after(5):
                yield client, transport
            transport.close()
            nursery.cancel_scope.cancel()


async def test_bytes_that_a_read_left_behind() -> None:
    async with polled() as (client, transport):
        client.sendall(b"hello")
        assert await receive(transport, 2) == b"he"
        await transport.wait_readable()
        assert await receive(transport, 2) == b"ll"
        await transport.wait_readable()
        assert await receive(transport, 2) == b"o"


async def test_an_end_that_comes_with_the_last_bytes() -> None:
    async with polled() as (client, transport):
        with trio.move_on_after(0.01):
            await transport.wait_readable()  # registered: from now on there are only edges
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        await trio.testing.wait_all_tasks_blocked()
        await transport.wait_readable()
        assert transport.recv_nowait(100) == b"hello"
        await transport.wait_readable()
        assert transport.recv_nowait(100) == b""
        await transport.wait_readable()
        assert transport.recv_nowait(100) == b""


async def test_bytes_that_come_while_nobody_waits() -> None:
    async with polled() as (client, transport):
        client.sendall(b"a")
        assert await receive(transport, 100) == b"a"
        client.sendall(b"b")
        await trio.testing.wait_all_tasks_blocked()
        await transport.wait_readable()
        assert transport.recv_nowait(100) == b"b"
        client.sendall(b"c")
        await transport.wait_readable()
        assert await receive(transport, 100) == b"c"


async def test_a_stale_edge_only_costs_a_look() -> None:
    async with polled() as (client, transport):
        with trio.move_on_after(0.01):
            await transport.wait_readable()
        client.sendall(b"a")
        await trio.testing.wait_all_tasks_blocked()
        assert transport.recv_nowait(100) == b"a"
        await transport.wait_readable()
        assert transport.recv_nowait(100) is None
        with trio.move_on_after(0.05) as scope:
            await transport.wait_readable()
        assert scope.cancelled_caught


async def test_one_reader_at_a_time() -> None:
    async with polled() as (_, transport), trio.open_nursery() as nursery:
        nursery.start_soon(transport.wait_readable)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await transport.wait_readable()
        nursery.cancel_scope.cancel()


async def test_an_interrupt_wakes_once() -> None:
    async with polled() as (client, transport):
        transport.interrupt()  # nobody waits: nothing happens
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await transport.wait_readable()

            await trio.testing.wait_all_tasks_blocked()
            transport.interrupt()
        client.sendall(b"a")
        assert await receive(transport, 100) == b"a"


async def test_closing_forgets_the_socket_although_a_copy_is_open() -> None:
    async with polled() as (client, transport):
        with trio.move_on_after(0.01):
            await transport.wait_readable()
        copy = socket.socket(fileno=socket.dup(transport._fd))
        with copy:
            transport.close()
            client.sendall(b"late")  # would be an event for a number nobody knows
            for _ in range(5):
                await trio.testing.wait_all_tasks_blocked()


async def test_a_reader_and_a_writer() -> None:
    async with polled() as (client, transport), trio.open_nursery() as nursery:
        nursery.start_soon(send_all, transport, bytes(20_000_000))
        await trio.testing.wait_all_tasks_blocked()
        client.sendall(b"hello")
        assert await receive(transport, 100) == b"hello"
        client.setblocking(False)
        received = 0
        while received < 20_000_000:
            await trio.lowlevel.wait_readable(client)
            received += len(client.recv(1 << 20))
