"""Messages between a program and its workers, with sockets, in both directions and at bad times."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import trio

from balancer import Disconnect, Exit, Listening, Message, Subscription
from balancer.net.feeds import ENOUGH
from tests.cluster.lab import ask, cluster, get, listening, until
from tests.support.wait import until as no_event

if TYPE_CHECKING:
    from balancer import Event, Worker

BIG = "x" * 800_000


async def numbered(worker: Worker, number: int, pad: str = "") -> None:
    """A message that asks for an echo, with a socket whose other end was told the number."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"%d" % number)
        assert await worker.send({"do": "echo", "number": number, "pad": pad}, [theirs])


async def hear(events: Subscription[Event]) -> tuple[int, int]:
    """What the next message says its number is, and what its socket says."""
    message = await until(events, Message)
    (sock,) = message.sockets
    assert isinstance(message.data, dict)
    with sock:
        return message.data["number"], int(sock.recv(20))


async def test_who_a_worker_is() -> None:
    async with cluster(bind=["127.0.0.1:0", "127.0.0.1:0"]) as opened:
        events = opened.events()
        (worker, _) = await listening(events, 2)
        about = await ask(events, worker, "about")
        assert (about["id"], about["slot"], about["pid"]) == (worker.id, worker.slot, worker.pid)
        assert about["env"]["BALANCER_WORKER_ID"] == "1"
        ours = [f"http://{address}" for address in opened.addresses]
        assert about["addresses"] == ours


async def test_a_socket_goes_there_and_back_and_is_the_same() -> None:
    async with cluster() as opened:
        events = opened.events()
        (worker,) = await listening(events, 1)
        ours, theirs = trio.socket.socketpair()
        with ours:
            with theirs:
                assert await worker.send({"do": "echo"}, [theirs])
            (sock,) = (await until(events, Message)).sockets
            with sock:
                sock.sendall(b"hello")
                assert await ours.recv(9) == b"hello"
            assert await ours.recv(9) == b""  # the worker's copy is closed too


async def test_what_is_sent_before_the_worker_is_there_waits_for_it() -> None:
    async with cluster(workers=0) as opened:
        worker = opened.fork()
        assert await worker.send({"do": "echo", "early": True})
        assert (await until(opened.events(), Message)).data == {"early": True}


async def test_large_messages_with_sockets_in_both_directions_at_once() -> None:
    """Node's send-handle-large-payload and send-deadlock."""
    count = 12
    async with cluster() as opened:
        events = opened.events()
        (worker,) = await listening(events, 1)
        async with trio.open_nursery() as nursery:
            assert await worker.send({"do": "flood", "count": count, "size": len(BIG)})
            for number in range(count, 2 * count):
                nursery.start_soon(numbered, worker, number, BIG)
            heard = [await hear(events) for _ in range(2 * count)]
        assert sorted(heard) == [(number, number) for number in range(2 * count)]
        about = await ask(events, worker, "about")
        assert about["fds"] < 30  # it kept none of the sockets


async def test_eighty_workers_each_get_their_own_socket() -> None:
    """Node's child-process-pass-fd."""
    async with cluster(workers=0, preload=True) as opened:
        events = opened.events()
        workers = [opened.fork() for _ in range(80)]
        async with trio.open_nursery() as nursery:
            for worker in workers:
                nursery.start_soon(numbered, worker, worker.id)
        heard = [await hear(events) for _ in workers]
        assert sorted(heard) == [(worker.id, worker.id) for worker in workers]
        for worker in workers:
            worker.kill(signal.SIGKILL)  # quicker than to ask each


async def test_what_a_worker_said_before_it_was_killed_is_heard_before_its_end() -> None:
    async with cluster(respawn=False) as opened:
        events = opened.events()
        (worker,) = await listening(events, 1)
        assert await worker.send({"do": "say and exit", "count": 500})
        numbers = []
        async for event in events:
            if isinstance(event, Disconnect):
                break
            assert isinstance(event, Message)
            numbers.append(event.data)
        assert numbers == list(range(500))
        assert (await until(events, Exit)).signal is signal.SIGKILL


async def test_to_a_worker_that_was_killed_it_is_false_and_no_error() -> None:
    """S31a: Node's primary dies of it."""
    async with cluster(respawn=False) as opened:
        (worker,) = await listening(opened.events(), 1)
        worker.kill(signal.SIGKILL)
        with socket.socket() as sock:
            while await worker.send(BIG, [sock]):
                pass
            await worker.wait()
            assert not await worker.send("anybody?", [sock])


async def test_to_a_worker_that_hangs_it_is_false_in_time() -> None:
    async with cluster(respawn=False) as opened:
        (worker,) = await listening(opened.events(), 1)
        worker.kill(signal.SIGSTOP)
        while await worker.send(BIG, seconds=0.05):
            pass
        worker.kill(signal.SIGKILL)


async def test_a_reader_that_is_late_holds_up_the_sender_and_nobody_else() -> None:
    async with cluster(workers=2) as opened:
        events = opened.events()
        first, second = await listening(events, 2)
        late = opened.events()
        size = ENOUGH // 8
        assert await first.send({"do": "flood", "count": 24, "size": size})
        await no_event(lambda: late.unread >= ENOUGH)
        held_at = late.unread
        second.kill(signal.SIGKILL)
        assert (await until(events, Exit)).worker is second
        await until(events, Listening)  # a successor
        assert await get(opened) in {str(first.id), "3"}
        assert late.unread <= held_at + size + 100
        events.close()  # who reads no more is waited for no more
        assert await drain(late, 24) == list(range(24))


async def drain(events: Subscription[Event], count: int) -> list[object]:
    """The numbers of so many messages, whose sockets are closed."""
    numbers: list[object] = []
    while len(numbers) < count:
        message = await until(events, Message)
        assert isinstance(message.data, dict)
        numbers.append(message.data["number"])
        message.drop()
    return numbers
