"""What edges do not tell, and what a copy of a socket would tell too late."""

from __future__ import annotations

import contextvars
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from balancer.http1.inline import begin
from balancer.http1.polled import PolledTransport
from balancer.http1.poller import Poller
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


async def test_a_read_uses_an_edge_up() -> None:
    async with polled() as (client, transport):
        with trio.move_on_after(0.01):
            await transport.wait_readable()
        client.sendall(b"a")
        await trio.testing.wait_all_tasks_blocked()
        assert transport.recv_nowait(100) == b"a"
        with trio.move_on_after(0.05) as scope:
            await transport.wait_readable()
        assert scope.cancelled_caught


@pytest.mark.parametrize("told", ["before it waits", "while it waits"])
async def test_a_reader_that_is_cancelled_uses_nothing_up(told: str) -> None:
    """Else the bytes stay where they are: no further edge speaks of them."""
    async with polled() as (client, transport):
        with trio.move_on_after(0.01):
            await transport.wait_readable()  # registered
        if told == "before it waits":
            client.sendall(b"a")
            await trio.testing.wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                scope.cancel()
                await transport.wait_readable()
        else:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def _() -> None:
                    await transport.wait_readable()
                    await trio.lowlevel.checkpoint()

                await trio.testing.wait_all_tasks_blocked()
                client.sendall(b"a")
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        for wait in (transport.wait_readable, transport.wait_request):
            await wait()
        assert transport.recv_nowait(100) == b"a"


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


async def test_what_was_heard_of_a_socket_is_not_told_to_the_next_by_its_number() -> None:
    """The old one's end would make every wait of the new one return at once."""
    poller = Poller()
    pairs = [socket.socketpair() for _ in range(2)]
    first, old = (PolledTransport(theirs, poller) for _, theirs in pairs)
    number = old._fd
    new: list[PolledTransport] = []

    async def replace() -> None:
        await first.wait_request()
        old.close()
        pairs.append(socket.socketpair()[::-1])
        new.append(PolledTransport(pairs[-1][1], poller))
        poller.add(number, new[0])

    async with trio.open_nursery() as nursery:
        poller.start(nursery)
        begin(replace())
        begin(serve_parked(old, []))
        await trio.testing.wait_all_tasks_blocked()
        pairs[1][0].shutdown(socket.SHUT_WR)
        pairs[0][0].sendall(b"a")  # heard after that end, and told before it
        await trio.testing.wait_all_tasks_blocked()
        assert new[0]._fd == number
        assert not new[0]._ready
        nursery.cancel_scope.cancel()
    poller.remove(number)
    for sock, _ in pairs:
        sock.close()
    for transport in (first, *new):
        transport.close()


async def serve_parked(transport: PolledTransport, heard: list[bytes]) -> None:
    """What the engine does between requests: a word at a time, b"" at the end."""
    try:
        while not heard or heard[-1]:
            try:
                await transport.wait_request()
                data = transport.recv_nowait(100)
            except trio.ClosedResourceError:
                data = b"(interrupted)"
            if data is not None:
                heard.append(data)
    finally:
        heard.append(b"(over)")


async def test_a_parked_reader_has_no_task() -> None:
    heard: list[bytes] = []
    async with polled() as (client, transport):
        trap = begin(serve_parked(transport, heard))
        assert trap is None
        for word in (b"a", b"b"):
            client.sendall(word)
            await trio.testing.wait_all_tasks_blocked()
        client.sendall(b"c")
        client.shutdown(socket.SHUT_WR)
        await trio.testing.wait_all_tasks_blocked()
    assert heard == [b"a", b"b", b"c", b"", b"(over)"]


async def test_a_parked_reader_is_interrupted_and_parks_again() -> None:
    heard: list[bytes] = []
    async with polled() as (client, transport):
        begin(serve_parked(transport, heard))
        transport.interrupt()
        await trio.testing.wait_all_tasks_blocked()
        assert heard == [b"(interrupted)"]
        client.sendall(b"a")
        await trio.testing.wait_all_tasks_blocked()
        assert heard == [b"(interrupted)", b"a"]
        client.close()
        await trio.testing.wait_all_tasks_blocked()


async def test_the_parked_are_closed_at_the_end() -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    poller = Poller()
    transport = PolledTransport(accepted, poller)
    async with trio.open_nursery() as nursery:
        poller.start(nursery)
        begin(serve_parked(transport, heard))
        nursery.cancel_scope.cancel()
    assert heard == [b"(over)"]
    transport.close()
    client.close()


async def test_what_a_request_leaves_in_the_context_is_not_the_next_ones() -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
    seen: list[str] = []

    async def connection(transport: PolledTransport) -> None:
        for _ in range(2):
            await transport.wait_request()
            transport.recv_nowait(100)
            seen.append(user.get())
            user.set("somebody")

    async with polled() as (client, transport):
        begin(connection(transport))
        for _ in range(2):
            client.sendall(b"x")
            await trio.testing.wait_all_tasks_blocked()
    assert seen == ["nobody"] * 2


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


async def test_what_happens_first_is_heard_first() -> None:
    heard: list[bytes] = []
    async with polled() as (first, transport):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            second = socket.create_connection(listener.getsockname())
            other = PolledTransport(listener.accept()[0], transport._poller)
        with second:
            begin(serve_parked(other, heard))
            begin(serve_parked(transport, heard))
            await trio.testing.wait_all_tasks_blocked()
            first.sendall(b"a")
            second.sendall(b"b")
            await trio.testing.wait_all_tasks_blocked()
            assert heard == [b"a", b"b"]
        first.close()
        await trio.testing.wait_all_tasks_blocked()
        other.close()
