"""Clients that meet their own worker, with real listeners and pairs, and workers of the test's."""

from __future__ import annotations

import socket
import time
from itertools import count
from typing import TYPE_CHECKING

import trio

from tests.core.test_by_key import order_of
from tests.master.test_dispatcher import QUIET, stage

if TYPE_CHECKING:
    from tests.master.test_dispatcher import Stage


def client_of(*workers: int) -> str:
    """An address on the loopback whose worker is the first of these, and then the next."""
    hosts = (f"127.0.{number // 250}.{number % 250 + 1}" for number in count())
    return next(h for h in hosts if order_of(h.encode(), *sorted(workers)) == list(workers))


def connect(s: Stage, host: str) -> None:
    address = s.listeners[0].sock.getsockname()
    s.clients.append(socket.create_connection(address, source_address=(host, 0)))


async def test_every_client_meets_its_own_worker() -> None:
    async with stage(policy="source-hash") as s:
        workers = {worker.number: worker for worker in s.add(3)}
        for number in range(1, 21):
            host = f"127.0.0.{number}"
            for _ in range(2):
                connect(s, host)
                await workers[order_of(host.encode(), 1, 2, 3)[0]].take()


async def test_one_that_is_blocked_is_in_nobodys_way_but_its_own_clients() -> None:
    async with stage(policy="source-hash", recall=None) as s:
        blocked, other = s.add(2)
        connect(s, client_of(1, 2))
        first = await blocked.next()
        for _ in range(5):
            connect(s, client_of(1, 2))
            connect(s, client_of(2, 1))
            await other.take()
        await trio.sleep(QUIET)
        assert other.receive() is None
        assert s.dispatcher.pending() == 6
        assert len(s.dispatcher.lane(0).queue) == 5
        blocked.answer(first)
        numbers = [await blocked.take() for _ in range(5)]
        assert numbers == sorted(numbers)


async def test_nobody_waits_longer_than_the_recall_says() -> None:
    async with stage(policy="source-hash") as s:
        _, other = s.add(2)
        began = time.monotonic()
        for _ in range(3):
            connect(s, client_of(1, 2))
        assert [await other.take() for _ in range(3)] == [1, 2, 3]
        assert 0.09 <= time.monotonic() - began < 0.25
        connect(s, client_of(1, 2))  # and the next needn't wait at all
        await other.take()
        assert time.monotonic() - began < 0.25


async def test_a_slow_worker_is_left_by_those_that_have_waited_for_as_long() -> None:
    """It answers in time, but has more than it can do: nobody is held, and the clock must tell."""
    async with stage(policy="source-hash") as s:
        slow, other = s.add(2)
        began = time.monotonic()
        for _ in range(3):
            connect(s, client_of(1, 2))
        first = await slow.next()
        await trio.sleep(0.06)  # its slowness is the subject: most of the recall's 0.1 s
        slow.answer(first)
        await slow.next()
        assert await other.take() == 3
        assert 0.09 <= time.monotonic() - began < 0.25


async def test_what_waits_for_a_worker_when_the_listener_goes_still_has_its_key() -> None:
    async with stage(policy="source-hash", recall=None) as s:
        first, second = s.add(2)
        for _ in range(3):
            connect(s, client_of(1, 2))
            connect(s, client_of(2, 1))
        s.dispatcher.finish(s.listeners[0])
        for worker in (first, second):
            for _ in range(3):
                await worker.take()


async def test_nobody_is_lost_at_the_end() -> None:
    """What waits for a worker is closed with the rest (the stage counts descriptors)."""
    async with stage(policy="source-hash", recall=None) as s:
        [worker] = s.add()
        for _ in range(3):
            connect(s, "127.0.0.1")
        await worker.next()
        await trio.sleep(QUIET)
        assert len(s.dispatcher.lane(0).queue) == 2
