"""The control channel, two ends in one process."""

from __future__ import annotations

import socket
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest
import trio
import trio.testing

from balancer.core.messages import (
    BootFailed,
    Drain,
    Leaving,
    ProtocolError,
    Quit,
    Ready,
    WorkerMessage,
    WorkerRequest,
    encode_frame,
)
from balancer.net.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


@contextmanager
def ends() -> Iterator[tuple[Channel[WorkerMessage], Channel[WorkerRequest]]]:
    """The master's and the worker's."""
    near, far = Channel.pair()
    master = Channel[WorkerMessage](near, WorkerMessage)
    worker = Channel[WorkerRequest](far, WorkerRequest)
    try:
        yield master, worker
    finally:
        master.close()
        worker.close()


async def first_of(channel: Channel[T], count: int = 1) -> list[T]:
    heard: list[T] = []
    with trio.fail_after(5):
        async with aclosing(channel.messages()) as messages:
            while len(heard) < count:
                heard.append(await anext(messages))
    return heard


async def rest_of(channel: Channel[T]) -> list[T]:
    with trio.fail_after(5):
        return [message async for message in channel.messages()]


async def test_both_directions() -> None:
    with ends() as (master, worker):
        assert await worker.send(Ready())
        assert await master.send(Drain(1.5))
        assert await first_of(master) == [Ready()]
        assert await first_of(worker) == [Drain(1.5)]


async def test_messages_keep_their_order() -> None:
    said: list[WorkerMessage] = [Leaving(str(number)) for number in range(100)]
    with ends() as (master, worker):
        for message in said:
            await worker.send(message)
        worker.close()
        assert await rest_of(master) == said


async def test_a_message_larger_than_any_buffer() -> None:
    message = BootFailed("x" * 5_000_000)
    with ends() as (master, worker):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.send, message)
            assert await first_of(master) == [message]


async def test_large_messages_of_two_tasks_do_not_mix() -> None:
    said = [BootFailed(letter * 1_000_000) for letter in "abc"]
    with ends() as (master, worker):
        async with trio.open_nursery() as nursery:
            for message in said:
                nursery.start_soon(worker.send, message)
            heard = await first_of(master, 3)
        assert sorted(heard, key=repr) == said


async def test_the_end_of_the_other_is_the_end_of_its_messages() -> None:
    with ends() as (master, worker):
        await worker.send(Ready())
        worker.close()
        assert await rest_of(master) == [Ready()]
        assert not await master.send(Quit())


async def test_last_words_are_heard_of_one_who_died_with_messages_unread() -> None:
    with ends() as (master, worker):
        await master.send(Quit())
        await worker.send(BootFailed("no"))
        worker.close()
        assert await rest_of(master) == [BootFailed("no")]


async def test_a_peer_that_does_not_read_costs_the_deadline_and_the_channel() -> None:
    with ends() as (master, worker):
        began = trio.current_time()
        assert not await worker.send(BootFailed("x" * 5_000_000), seconds=0.05)
        assert 0.05 <= trio.current_time() - began < 5
        # what comes after a cut message would be read as the rest of it, so nothing may
        assert not await worker.send(Ready())
        assert await rest_of(master) == []


async def test_closing_wakes_who_listens() -> None:
    with ends() as (master, _worker):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rest_of, master)
            await trio.testing.wait_all_tasks_blocked()
            master.close()


async def test_closing_twice_is_closing_once() -> None:
    with ends() as (master, _worker):
        master.close()
        master.close()
        assert await rest_of(master) == []
        assert not await master.send(Quit())


async def test_garbage_is_a_protocol_error() -> None:
    near, far = Channel.pair()
    with far:
        channel = Channel[WorkerMessage](near, WorkerMessage)
        far.send(b"\xff\xff\xff\xff garbage")
        with pytest.raises(ProtocolError):
            await rest_of(channel)
        channel.close()


async def test_bytes_that_come_one_by_one() -> None:
    near, far = Channel.pair()
    with far:
        channel = Channel[WorkerMessage](near, WorkerMessage)

        async def dribble() -> None:
            for byte in encode_frame(Leaving("slowly")):
                far.send(bytes([byte]))
                await trio.testing.wait_all_tasks_blocked()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dribble)
            assert await first_of(channel) == [Leaving("slowly")]
        channel.close()


def test_the_ends_are_a_stream_and_not_inherited() -> None:
    for end in Channel.pair():
        with end:
            assert end.type == socket.SOCK_STREAM
            assert not end.get_inheritable()
