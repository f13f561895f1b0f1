"""How long a request may take."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from a test's arguments

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio

from balancer.http1 import Http1Config
from tests.http1.fakes import conversation

if TYPE_CHECKING:
    from trio.testing import MockClock

    from balancer.http1 import Exchange

GET = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
CONFIG = Http1Config(request_timeout=5.0)


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logging.getLogger("balancer").propagate = True
    return caplog


async def test_a_slow_one_is_cancelled_and_its_client_gets_a_504(
    autojump_clock: MockClock, log: pytest.LogCaptureFixture
) -> None:
    cancelled = trio.Event()

    async def handler(_: Exchange) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with conversation(handler, config=CONFIG) as talk:
        began = trio.current_time()
        talk.say(GET)
        await cancelled.wait()
        assert 4.7 <= trio.current_time() - began <= 5.3
        answer = await talk.hear()
        assert answer.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
        assert b"Connection: close\r\n" in answer
    assert [each.message for each in log.records] == [
        "GET /slow was cancelled after 5 s (--request-timeout) (request 1)"
    ]


@pytest.mark.parametrize("begun", [False, True])
async def test_one_that_has_begun_is_cut(autojump_clock: MockClock, begun: bool) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.start(200)
        if begun:
            await exchange.write(b"some")
        await trio.sleep_forever()

    async with conversation(handler, config=CONFIG) as talk:
        talk.say(GET)
        await talk.over.wait()
        if begun:
            assert talk.state() == "aborted"
        else:  # a head that was not sent can be replaced
            assert talk.transport.sent.startswith(b"HTTP/1.1 504 ")


async def test_a_client_that_does_not_read_has_no_more_time(autojump_clock: MockClock) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.respond(200, (), bytes(100))

    config = Http1Config(request_timeout=5.0, send_timeout=60.0)
    async with conversation(handler, config=config, room=10) as talk:
        began = trio.current_time()
        talk.say(GET)
        await talk.over.wait()
        assert talk.state() == "aborted"
        assert trio.current_time() - began < 6


async def test_every_request_of_a_connection_has_its_own_time(autojump_clock: MockClock) -> None:
    async def handler(exchange: Exchange) -> None:
        await trio.sleep(4)
        await exchange.respond(200, (), b"ok")

    async with conversation(handler, config=CONFIG) as talk:
        for _ in range(3):
            talk.say(GET)
            await trio.sleep(4.1)
            assert (await talk.hear()).endswith(b"ok")
        await trio.sleep(20)  # idle: that is another clock
        talk.say(GET)
        await trio.sleep(4.1)
        assert (await talk.hear()).endswith(b"ok")


async def test_what_a_handler_does_after_its_response_is_not_limited(
    autojump_clock: MockClock,
) -> None:
    finished = trio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.respond(200, (), b"ok")
        await trio.sleep(60)
        finished.set()

    async with conversation(handler, config=CONFIG) as talk:
        talk.say(GET)
        await finished.wait()


async def test_a_tunnel_is_not_limited(autojump_clock: MockClock) -> None:
    finished = trio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.upgrade([(b"Connection", b"upgrade"), (b"Upgrade", b"x")])
        await trio.sleep(60)
        finished.set()

    async with conversation(handler, config=CONFIG) as talk:
        talk.say(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        await finished.wait()


async def test_a_handler_that_cannot_be_cancelled_may_still_answer(
    autojump_clock: MockClock,
) -> None:
    async def handler(exchange: Exchange) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(10)
            await exchange.respond(200, (), b"late")

    async with conversation(handler, config=CONFIG) as talk:
        talk.say(GET)
        await trio.sleep(11)
        assert (await talk.hear()).endswith(b"late")


async def test_a_loop_that_stood_still_costs_no_request_its_time(autojump_clock: MockClock) -> None:
    async def handler(exchange: Exchange) -> None:
        await trio.sleep(0.6)
        await exchange.respond(200, (), b"ok")

    async with conversation(handler, config=CONFIG) as talk:
        talk.say(GET)
        await trio.sleep(0.1)
        talk.server.tick(trio.current_time() + 1000)
        await trio.sleep(1)
        assert (await talk.hear()).endswith(b"ok")
