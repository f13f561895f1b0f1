"""Connections that wait for their threads without a task, and what becomes of them."""

from __future__ import annotations

import threading
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING

import trio
import trio.testing

from balancer.http1 import Http1Config
from tests.apps.wsgi.lab import DEADLINE, GET, PLAIN, read_until, serving
from tests.support.wait import until

if TYPE_CHECKING:
    from balancer.http1 import Exchange
    from balancer.http1.exchange import Handler
    from tests.apps.wsgi.lab import Environ, StartResponse

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n"
USER: ContextVar[str] = ContextVar("USER", default="nobody")


class Gate:
    """An app whose requests are answered when it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Event()
        self.inside = 0

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        self.inside += 1
        self.entered.set()
        assert self.opened.wait(DEADLINE)
        start_response("200 OK", PLAIN)
        return [environ["wsgi.input"].read() or b"done"]


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def test_who_waits_for_a_thread_has_no_task() -> None:
    gate = Gate()
    async with serving(gate) as site, AsyncExitStack() as stack:
        before = tasks()
        clients = [await stack.enter_async_context(site.connect()) for _ in range(20)]
        for client in clients:
            await client.send_all(GET + GET)  # the second one follows without a wait
        await trio.testing.wait_all_tasks_blocked()
        assert tasks() == before
        gate.opened.set()
        for client in clients:
            assert (await read_until(client, b"done")).count(b"200 OK") in {1, 2}
    assert gate.inside == 40


async def test_one_that_has_to_wait_for_its_client_gets_a_task() -> None:
    gate = Gate()
    async with serving(gate, threads=2) as site, AsyncExitStack() as stack:
        before = tasks()
        slow = await stack.enter_async_context(site.connect())
        await slow.send_all(POST)
        gate.opened.set()
        await until(lambda: tasks() == before + 1)
        other = await stack.enter_async_context(site.connect())
        await other.send_all(GET)  # nobody waits for the slow one
        await read_until(other, b"done")
        await slow.send_all(b"abcdef")
        await read_until(slow, b"abcdef")
        await slow.send_all(GET)
        await read_until(slow, b"done")
        await until(lambda: tasks() == before)


async def test_those_who_are_parked_at_the_end_are_cancelled() -> None:
    gate = Gate()
    async with serving(gate, parked=False) as site:
        async with trio.open_nursery() as connections:
            site.service.open(connections)
            site.nursery, nursery = connections, site.nursery
            first, second = site.connect(), site.connect()
            for client in (first, second):
                await client.send_all(GET)
            await trio.to_thread.run_sync(gate.entered.wait, DEADLINE)
            await trio.testing.wait_all_tasks_blocked()
            connections.cancel_scope.cancel()
        site.nursery = nursery
        with trio.fail_after(DEADLINE):
            for client in (first, second):
                async with client:
                    assert not [each async for each in client]
        gate.opened.set()
        with trio.fail_after(DEADLINE):
            await site.service.stop()
    assert gate.inside == 1


async def test_a_request_with_a_time_limit_keeps_its_task() -> None:
    gate = Gate()
    async with serving(gate, engine=Http1Config(request_timeout=60)) as site:
        before = tasks()
        async with site.connect() as client:
            await client.send_all(GET)
            await trio.testing.wait_all_tasks_blocked()
            assert tasks() == before + 1
            gate.opened.set()
            await read_until(client, b"done")


async def test_what_is_set_around_a_request_is_still_set_behind_it() -> None:
    seen = []

    def around(handler: Handler) -> Handler:
        async def handle(exchange: Exchange) -> None:
            seen.append(USER.get())
            USER.set("somebody")
            await handler(exchange)
            seen.append(USER.get())

        return handle

    gate = Gate()
    gate.opened.set()
    async with serving(gate) as site:
        site.service.wrap(around)
        for _ in range(2):
            async with site.connect() as client:
                await client.send_all(GET)
                await read_until(client, b"done")
    assert seen == ["nobody", "somebody"] * 2
