"""What is held back of a connection's answers: it goes first, or the client can see that it didn't.

The leader is played by the tests: what is between ``begin`` and ``end`` is a step of its.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from balancer.http1.errors import ClientGone
from balancer.http1.inline import begin
from balancer.http1.polled import PolledTransport
from balancer.http1.poller import Poller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BIG = bytes(20_000_000)
"""More than any socket takes at once."""


class Lab:
    """A transport, its client, and the poller's outbox."""

    def __init__(self, client: socket.socket, transport: PolledTransport, poller: Poller) -> None:
        self.client = client
        self.transport = transport
        self.outbox = poller.outbox

    def post(self, data: bytes) -> None:
        """An answer, posted in a step that goes on."""
        self.outbox.begin()
        assert self.transport.post_nowait(data) == len(data)

    def received(self) -> bytes:
        """What has reached the client until now."""
        try:
            return self.client.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""

    async def receive_all(self) -> int:
        """How many bytes come until the end of the stream."""
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(self.client.dup()))
        size = 0
        async with stream:
            async for piece in stream:
                size += len(piece)
        return size


@asynccontextmanager
async def lab(send_timeout: float = 30.0) -> AsyncIterator[Lab]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    poller = Poller(send_timeout)
    transport = PolledTransport(accepted, poller)
    with client, trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            poller.start(nursery)
            yield Lab(client, transport, poller)
            transport.close()
            nursery.cancel_scope.cancel()


async def test_an_answer_is_held_until_the_leader_has_done_its_round() -> None:
    async with lab() as here:
        here.post(b"answer")
        assert here.received() == b""
        here.outbox.end(last=True)
        assert here.received() == b"answer"


async def test_nothing_is_held_outside_of_a_step() -> None:
    async with lab() as here:
        assert here.transport.post_nowait(b"answer") == 6
        assert here.received() == b"answer"


async def test_what_is_held_goes_first() -> None:
    async with lab() as here:
        here.post(b"first ")
        assert here.transport.send_nowait(b"second ") == 7
        assert here.transport.post_nowait(b"third ") == 6  # held again
        assert here.transport.send_last_nowait(b"last") == 4
        assert here.received() == b"first second third last"
        here.outbox.end(last=True)
        assert here.received() == b""


@pytest.mark.parametrize("end", ["send_eof", "close"])
async def test_an_end_sends_what_is_held(end: str) -> None:
    async with lab() as here:
        here.post(b"answer")
        getattr(here.transport, end)()
        here.outbox.end(last=True)
        assert await here.receive_all() == 6


async def test_a_reset_drops_it() -> None:
    async with lab() as here:
        here.post(b"answer")
        here.transport.abort()
        here.outbox.end(last=True)
        with pytest.raises(ConnectionResetError):
            here.received()


async def test_what_the_kernel_does_not_take_is_followed_up() -> None:
    async with lab() as here:
        here.post(BIG)
        here.outbox.end(last=True)
        assert here.transport.send_nowait(b"more") == 0  # full, as it would be without us
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                await here.transport.wait_writable()
                assert here.transport.send_nowait(b"more") == 4
                here.transport.send_eof()

            assert await here.receive_all() == len(BIG) + 4


async def test_its_end_comes_after_it() -> None:
    async with lab() as here:
        here.post(BIG)
        here.outbox.end(last=True)
        here.transport.send_eof()
        assert await here.receive_all() == len(BIG)


async def test_the_reaper_interrupts_the_reader_and_not_what_is_still_to_be_sent() -> None:
    async with lab() as here:
        here.post(BIG)
        here.outbox.end(last=True)
        await trio.testing.wait_all_tasks_blocked()
        here.transport.interrupt()
        await trio.testing.wait_all_tasks_blocked()
        here.transport.send_eof()
        assert await here.receive_all() == len(BIG)


async def test_who_does_not_read_is_reset_in_time() -> None:
    async with lab(send_timeout=0.05) as here:
        here.post(BIG)
        here.outbox.end(last=True)
        await here.transport.wait_writable()
        with pytest.raises(ClientGone):
            here.transport.send_nowait(b"more")
        for wait in (here.transport.wait_readable, here.transport.wait_request):
            with pytest.raises(ClientGone):
                await wait()
        with pytest.raises(trio.BrokenResourceError):  # reset
            await here.receive_all()


async def test_a_close_that_loses_some_of_it_is_seen() -> None:
    async with lab() as here:
        here.post(BIG)
        here.outbox.end(last=True)
        await trio.testing.wait_all_tasks_blocked()
        here.transport.close()
        with pytest.raises(trio.BrokenResourceError):  # reset
            await here.receive_all()


async def test_a_client_that_has_gone_is_the_readers_news() -> None:
    async with lab() as here:
        with trio.move_on_after(0.01):
            await here.transport.wait_readable()  # registered
        here.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        here.client.close()
        here.post(b"answer")
        here.outbox.end(last=True)
        await here.transport.wait_readable()
        # The kernel tells of a reset once: to our send, if it was there by then.
        with suppress(ClientGone):
            assert here.transport.recv_nowait(100) == b""


async def test_who_has_to_wait_in_the_same_step_waits_for_it() -> None:
    """Trio has room for one who waits to write: two would be an error that ends the worker."""
    async with lab() as here, trio.open_nursery() as nursery:
        await trio.testing.wait_all_tasks_blocked()  # the leader has nothing to do
        here.post(BIG)
        assert here.transport.send_nowait(b"more") == 0

        @nursery.start_soon
        async def _() -> None:
            await here.transport.wait_writable()
            assert here.transport.send_nowait(b"more") == 4
            here.transport.send_eof()

        await trio.testing.wait_all_tasks_blocked()
        here.outbox.end(last=True)
        assert await here.receive_all() == len(BIG) + 4


async def test_a_client_that_is_still_being_answered_is_not_idle() -> None:
    async def idle() -> None:
        with suppress(trio.ClosedResourceError):
            await here.transport.wait_request()

    async with lab() as here:
        assert begin(idle()) is None
        here.post(BIG)
        here.outbox.end(last=True)
        here.transport.interrupt()
        parked = here.transport.unpark()
        assert parked is not None
        here.transport.keep(parked)
        here.transport.send_eof()
        assert await here.receive_all() == len(BIG)
        await trio.testing.wait_all_tasks_blocked()
        here.transport.interrupt()
        assert here.transport.unpark() is None


async def test_who_reads_slowly_has_its_time_again_with_every_piece() -> None:
    async with lab(send_timeout=1.0) as here:
        here.post(BIG)
        here.outbox.end(last=True)
        here.transport.send_eof()
        size, began = 0, trio.current_time()
        here.client.setblocking(False)
        client = trio.socket.from_stdlib_socket(here.client.dup())
        with client:
            while piece := await client.recv(4_000_000):
                size += len(piece)
                if size < len(BIG) and trio.current_time() < began + 1.5:
                    await trio.sleep(0.3)  # reads slowly
        assert size == len(BIG)


async def test_a_close_that_waits_for_it_loses_nothing() -> None:
    async with lab() as here, trio.open_nursery() as nursery:
        here.post(BIG)
        here.transport.send_eof()

        @nursery.start_soon
        async def _() -> None:
            await here.transport.wait_posted()
            here.transport.close()

        await trio.testing.wait_all_tasks_blocked()
        here.outbox.end(last=True)
        assert await here.receive_all() == len(BIG)
