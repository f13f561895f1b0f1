"""WebSockets through the proxy, and a rolling restart in the middle: no message is lost.

A tunnel belongs to the worker that made it, which drains until it ends (`--drain-timeout`): the old
workers are there as long as their clients are.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect

from benchmarks.process import ServerProcess
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = 100
"""Handshakes in progress: a burst of a thousand is another test's subject."""


@contextmanager
def echo_server() -> Iterator[str]:
    process = ServerProcess([sys.executable, "-m", "tests.faults.echo"])
    process.start()
    try:
        line = process.wait_for_line(r"listening on (\d+)", deadline=10.0)
        yield f"127.0.0.1:{line.text.rpartition(' ')[2]}"
    finally:
        process.close()


async def converse(server: BalancerServer, connections: int, messages: int) -> int:
    """Every connection sends and gets back its messages, a roll begins in the middle."""
    door = asyncio.Semaphore(AT_ONCE)
    halfway = asyncio.Barrier(connections + 1)
    url = f"ws://127.0.0.1:{server.port}/"

    async def one(number: int) -> int:
        async with door:
            socket = await connect(url, ping_interval=None, open_timeout=30)
        for turn in range(messages):
            if turn == messages // 2:
                await halfway.wait()
            text = f"{number} {turn} " + "x" * (turn % 200)
            await socket.send(text)
            assert await socket.recv() == text
        await socket.close()
        assert socket.close_code == 1000
        return messages

    async def roll() -> int:
        await halfway.wait()
        server.signal(signal.SIGHUP)
        return 0

    return sum(await asyncio.gather(roll(), *map(one, range(connections))))


def run(connections: int, messages: int) -> None:
    with echo_server() as upstream, BalancerServer(workers=2, upstreams=[upstream]) as server:
        before = set(ready(server.status()))
        assert asyncio.run(converse(server, connections, messages)) == connections * messages
        server.wait_for_line("reload: done")
        after = server.wait_for(lambda status: len(status["workers"]) == 2)
        assert not before & set(ready(after)), "the old workers have left with their last tunnel"


def test_no_message_is_lost_in_a_roll() -> None:
    run(connections=60, messages=20)


@pytest.mark.soak
def test_no_message_of_many_is_lost_in_a_roll() -> None:
    run(connections=1000, messages=100)
