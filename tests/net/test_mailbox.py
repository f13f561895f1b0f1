"""Messages with sockets beside them, two ends in one process."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from balancer.core.messages import ProtocolError
from balancer.net.mailbox import Mailbox, descriptor, open_sockets
from tests.net.children import count_fds, no_descriptors_left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balancer.core.parcels import Parcel

BIG = "x" * 800_000


@contextmanager
def ends() -> Iterator[tuple[Mailbox, Mailbox]]:
    before = count_fds()
    near, far = (Mailbox(end) for end in Mailbox.pair())
    try:
        yield near, far
    finally:
        near.close()
        far.close()
        near.close()
    assert count_fds() == before


async def receive(box: Mailbox) -> Parcel:
    with trio.fail_after(10):
        return await box.receive()


async def send_numbered(box: Mailbox, number: int, pad: str = "") -> bool:
    """A message with a socket whose other end was told the same number."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"%d" % number)
        return await box.send([number, pad], [theirs.fileno()], seconds=10)


def number_in(parcel: Parcel) -> tuple[int, int]:
    """What a message says, and what its socket says."""
    assert isinstance(parcel.data, list)
    (sock,) = open_sockets(parcel.batch.fds)
    with sock:
        assert not sock.get_inheritable()
        return parcel.data[0], int(sock.recv(20))


async def test_anything_that_msgspec_encodes() -> None:
    data = {"a": [1, 2.5, None, True, "ü", b"\xff"], "b": {}}
    with ends() as (near, far):
        assert await near.send(data, seconds=1)
        assert (await receive(far)).data == data
        with pytest.raises(TypeError):
            await near.send(object(), seconds=1)
        with pytest.raises(ValueError, match="251 sockets; 250 are allowed"):
            await near.send(1, [0] * 251, seconds=1)
        with pytest.raises(ValueError, match="67108869 bytes; 67108864 are allowed"):
            await near.send(b"x" * (64 << 20), seconds=1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            await near.send(1, [999_999], seconds=1)
        assert await near.send("after all that", seconds=1)
        assert (await receive(far)).data == "after all that"


async def test_large_messages_and_their_sockets_stay_together() -> None:
    count = 12
    with ends() as (near, far):

        async def send_all() -> None:
            for number in range(count):
                assert await send_numbered(near, number, BIG if number % 3 else "")
                assert await near.send([-1], seconds=10)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all)
            for number in range(count):
                assert number_in(await receive(far)) == (number, number)
                assert (await receive(far)).data == [-1]


async def test_both_directions_with_full_buffers() -> None:
    """Node's test-cluster-send-deadlock: both ends send, and read later."""
    with ends() as boxes:
        async with trio.open_nursery() as nursery:
            for box in boxes:
                for number in range(20):
                    nursery.start_soon(send_numbered, box, number, BIG)
            for box in boxes:
                nursery.start_soon(take, box, 20)


async def take(box: Mailbox, count: int) -> None:
    seen = [number_in(await receive(box)) for _ in range(count)]
    assert sorted(seen) == [(number, number) for number in range(count)]


async def test_many_small_messages_with_several_sockets_each() -> None:
    with ends() as (near, far):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for number in range(40):
                fds = [theirs.fileno()] * (number % 4)
                assert await near.send(number, fds, seconds=1)
        for number in range(40):
            parcel = await receive(far)
            assert (parcel.data, len(parcel.batch.fds)) == (number, number % 4)
            for fd in parcel.batch.fds:
                os.close(fd)


async def test_250_sockets_with_one_message() -> None:
    with ends() as (near, far), socket.socket() as sock:
        assert await near.send(1, [sock.fileno()] * 250, seconds=1)
        parcel = await receive(far)
        assert len(parcel.batch.fds) == 250
        for fd in parcel.batch.fds:
            os.close(fd)


async def test_without_room_for_its_sockets_a_message_comes_without() -> None:
    with ends() as (near, far), socket.socket() as sock:
        assert await near.send("one", [sock.fileno()] * 2, seconds=1)
        assert await near.send("two", [sock.fileno()], seconds=1)
        with no_descriptors_left(spare=1):
            first = await receive(far)
        assert (first.data, first.batch.fds, first.batch.lost) == ("one", (), True)
        second = await receive(far)
        assert (second.data, second.batch.lost, len(second.batch.fds)) == ("two", False, 1)
        os.close(second.batch.fds[0])


async def test_a_message_that_is_cancelled_half_way_spoils_nothing() -> None:
    with ends() as (near, far):
        with trio.move_on_after(0.05):
            await send_numbered(near, 7, BIG * 10)
        assert not await near.send("too late", seconds=0.05)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_numbered, near, 8)
            assert number_in(await receive(far)) == (7, 7)
            assert number_in(await receive(far)) == (8, 8)


async def test_the_end_of_the_other_is_told_after_its_last_words() -> None:
    with ends() as (near, far):
        await near.send("unread", seconds=1)
        await far.send("last words", seconds=1)
        near_copy = near
        far.close()
        assert (await receive(near_copy)).data == "last words"
        with pytest.raises(trio.EndOfChannel):
            await receive(near)
        assert not await near.send("hello?", seconds=1)


async def test_closing_wakes_who_waits_and_closes_what_is_unread() -> None:
    with ends() as (near, far):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.EndOfChannel):
                    await far.receive()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            far.close()
    with ends() as (near, far):
        for number in range(3):
            await send_numbered(near, number)
        assert number_in(await receive(far)) == (0, 0)
        assert await send_numbered(near, 4)


async def test_garbage_is_a_protocol_error() -> None:
    near, far = Mailbox.pair()
    with far:
        box = Mailbox(near)
        far.send(b"\xff" * 20)
        with pytest.raises(ProtocolError):
            await receive(box)
        box.close()


def test_only_open_sockets_can_be_sent() -> None:
    with socket.socket() as sock:
        assert descriptor(sock) == sock.fileno()
    with pytest.raises(ValueError, match="closed"):
        descriptor(sock)
