"""Time, backpressure, and the end of a worker."""

# ruff: noqa: ARG001 - the clock need only be there

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from balancer.apps.asgi.websocket.config import WebSocketConfig
from balancer.http1 import ClientGone
from tests.apps.asgi.websocket_support import (
    ACCEPTED,
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    REQUEST,
    TEXT,
    Talk,
    close,
    echo,
    frame,
    listen,
    short,
    talking,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from balancer.apps.asgi.types import Message, Receive, Scope, Send

DISCONNECT = "websocket.disconnect"
PING_FRAME = b"\x89\x00"
RESTART = ("close", 1012, "service restart")


def text(payload: str) -> bytes:
    return frame(TEXT, payload.encode())


async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts, and does nothing more."""
    del scope
    await receive()
    await send({"type": "websocket.accept"})
    await trio.sleep_forever()


class Sender:
    """An app that sends so many messages of a megabyte, and notes how it went."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.sent = 0
        self.error: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await receive()
        await send({"type": "websocket.accept"})
        try:
            for _ in range(self.count):
                await send({"type": "websocket.send", "bytes": bytes(1 << 20)})
                self.sent += 1
        except OSError as error:
            self.error = error


# time


async def test_pings(autojump_clock: MockClock) -> None:
    async with talking(listen) as talk:
        await talk.shake()
        for _ in range(3):
            await trio.sleep(20)
            assert (await talk.hear()) == PING_FRAME
            talk.say(frame(PONG))
        assert talk.state() == "open"


async def test_anything_is_an_answer_to_a_ping(autojump_clock: MockClock) -> None:
    async with talking(listen) as talk:
        await talk.shake()
        talk.say(frame(BINARY, bytes(1000))[:500])  # a message that takes its time
        for _ in range(5):
            await trio.sleep(20)
            talk.say(b"\0")
        assert talk.state() == "open"


async def test_no_answer_to_a_ping(autojump_clock: MockClock) -> None:
    async with talking(listen) as talk:
        await talk.shake()
        await trio.sleep(39)
        assert (await talk.hear()) == PING_FRAME
        assert talk.state() == "open"
        await trio.sleep(2)
        assert (await talk.hear()) == b"\x88\x15\x03\xf3no answer to a ping"
        assert talk.got[-1] == {"type": DISCONNECT, "code": 1006, "reason": "no answer to a ping"}
        await talk.over.wait()
        assert trio.current_time() < 52


@pytest.mark.parametrize(
    "config", [WebSocketConfig(ping_interval=0), WebSocketConfig(ping_timeout=0)]
)
async def test_clocks_that_are_off(config: WebSocketConfig, autojump_clock: MockClock) -> None:
    async with talking(listen, config=config) as talk:
        await talk.shake()
        await trio.sleep(1000)
        assert set((await talk.hear()).split(PING_FRAME)) == {b""}
        assert talk.state() == "open"


async def test_a_client_that_does_not_answer_our_close(autojump_clock: MockClock) -> None:
    async with talking(config=WebSocketConfig(ping_interval=0)) as talk:
        await talk.shake()
        talk.service.farewell()
        await trio.sleep(9)
        assert talk.state() == "open"
        await trio.sleep(2)
        assert talk.state() == "closed"


async def test_a_client_that_only_floods_after_our_close(autojump_clock: MockClock) -> None:
    async with talking() as talk:
        await talk.shake()
        talk.service.farewell()
        with trio.move_on_after(60):
            while not talk.over.is_set():
                talk.say(text("x" * 1000) * 10)
                await trio.sleep(0.1)
        assert trio.current_time() < 12
        assert [message["type"] for message in talk.got] == ["websocket.connect", DISCONNECT]


async def test_a_client_that_does_not_read_is_aborted(autojump_clock: MockClock) -> None:
    sender = Sender(3)
    async with talking(sender, room=5000) as talk:
        await talk.shake()
        await trio.sleep(29)
        assert (sender.sent, talk.state()) == (0, "open")
        talk.transport.take(1000)  # it has read something: the time begins anew
        await trio.sleep(29)
        assert talk.state() == "open"
        await trio.sleep(3)
        assert talk.state() == "aborted"
        assert isinstance(sender.error, ClientGone)
        assert sender.sent == 0


async def test_a_slow_reader_gets_everything_and_is_not_pinged_to_death(
    autojump_clock: MockClock,
) -> None:
    sender = Sender(2)
    async with talking(sender, room=0) as talk:
        talk.transport.take(len(ACCEPTED) + 2)
        await talk.shake()
        for _ in range(22):  # of 100,000 bytes in 25 seconds
            talk.transport.take(100_000)
            await trio.sleep(25)
        assert sender.sent == 2
        heard = [short(each) for each in await talk.events()]
        assert sum(len(each) for each in heard if isinstance(each, bytes)) == 2 << 20
        assert sender.error is None


# backpressure


@pytest.mark.parametrize("size", [1, 1000])
async def test_a_flood_stops_at_the_queue(size: int, autojump_clock: MockClock) -> None:
    config = WebSocketConfig(max_queue=10, ping_interval=0)
    async with talking(deaf, config=config) as talk:
        await talk.shake()
        for _ in range(100):
            talk.say(frame(BINARY, bytes(size)) * 100)
            await talk.hear()
        left = len(talk.transport.unread)
        assert left > 10_000 * size - 10 * size - 100_000
        assert talk.state() == "open"


async def test_a_flood_stops_at_the_bytes(autojump_clock: MockClock) -> None:
    async with talking(deaf, config=WebSocketConfig(max_size=1000, ping_interval=0)) as talk:
        await talk.shake()
        talk.say(frame(BINARY, bytes(900)) * 1000)
        await talk.hear()
        assert len(talk.transport.unread) > 800_000


async def test_a_stopped_flood_goes_on_when_the_app_receives(autojump_clock: MockClock) -> None:
    release = trio.Event()
    got: list[str] = []

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await receive()
        await send({"type": "websocket.accept"})
        await release.wait()
        while (message := await receive())["type"] != DISCONNECT:
            got.append(message["text"])

    async with talking(late, config=WebSocketConfig(max_queue=3)) as talk:
        await talk.shake()
        talk.say(b"".join(text(str(number)) for number in range(5000)) + close(1000))
        await trio.sleep(100)  # it is not the client's fault that nobody hears its pongs
        assert talk.state() == "open"
        release.set()
        await talk.over.wait()
        assert got == [str(number) for number in range(5000)]
        assert talk.state() == "closed"


async def test_pings_are_answered_while_the_app_only_sends(autojump_clock: MockClock) -> None:
    async def ticker(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await receive()
        await send({"type": "websocket.accept"})
        with suppress(OSError):
            while True:
                await send({"type": "websocket.send", "text": "tick"})
                await trio.sleep(1)

    async with talking(ticker) as talk:
        await talk.shake()
        assert ("pong", b"x") in await talk.answer(frame(PING, b"x"))
        assert ("close", 1000, "") in await talk.answer(close(1000))
        await talk.over.wait()
        assert trio.current_time() < 3


async def test_pings_to_a_client_that_does_not_read_take_no_memory(
    autojump_clock: MockClock,
) -> None:
    """The answer to the last waits until there is room."""
    async with talking(deaf, room=len(ACCEPTED) + 2 + 3) as talk:
        await talk.shake()
        for number in range(1000):
            talk.say(frame(PING, b"%d" % number))
            await trio.testing.wait_all_tasks_blocked()
        talk.transport.take(None)
        heard = [short(each) for each in await talk.events()]
        assert heard == [("pong", b"0"), ("pong", b"1"), ("pong", b"999")]


async def test_messages_of_several_tasks_do_not_mix(autojump_clock: MockClock) -> None:
    async def chorus(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await receive()
        await send({"type": "websocket.accept"})

        async def voice(letter: bytes) -> None:
            for _ in range(20):
                await send({"type": "websocket.send", "bytes": letter * 1000})

        async with trio.open_nursery() as nursery:
            for letter in (b"a", b"b", b"c"):
                nursery.start_soon(voice, letter)

    async with talking(chorus, room=0) as talk:
        talk.transport.take(len(ACCEPTED) + 2)
        await talk.shake()
        heard = []
        for _ in range(200):
            talk.transport.take(333)
            heard += await talk.answer(frame(PING, b"p"))
        messages = [each for each in heard if isinstance(each, bytes)]
        # a frame comes in pieces, but each is of one letter
        assert all(len(set(each)) == 1 for each in messages)
        assert sorted(b"".join(messages)) == sorted(b"abc" * 20_000)


async def test_a_send_that_the_app_cancels_is_sent_all_the_same(autojump_clock: MockClock) -> None:
    async def impatient(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await receive()
        await send({"type": "websocket.accept"})
        with trio.move_on_after(1) as scope_:
            await send({"type": "websocket.send", "bytes": bytes(1000)})
        assert scope_.cancelled_caught
        await send({"type": "websocket.send", "text": "next"})

    async with talking(impatient, room=len(ACCEPTED) + 2 + 10) as talk:
        await talk.shake()
        await trio.sleep(2)
        talk.transport.take(None)
        *pieces, text_, end = await talk.answer(b"")
        assert b"".join(pieces) == bytes(1000)  # type: ignore[arg-type]
        assert (text_, end) == ("next", ("close", 1000, ""))


async def test_an_app_that_never_waits_gives_way(autojump_clock: MockClock) -> None:
    turns = 0
    taken: list[int] = []

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async def chatty(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal turns
        del scope
        await receive()
        await send({"type": "websocket.accept"})
        turns = 0
        for _ in range(1000):
            await send({"type": "websocket.send", "text": "a"})
        taken.append(turns)

    async with talking(chatty) as talk, trio.open_nursery() as nursery:
        nursery.start_soon(other)
        talk.say(REQUEST + b"\r\n")
        while not taken:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert taken[0] > 50


async def test_fragments_of_one_byte_take_no_more_than_the_message(
    autojump_clock: MockClock,
) -> None:
    async with talking(config=WebSocketConfig(max_size=5000)) as talk:
        await talk.shake()
        many = frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", fin=False) * 4998
        talk.say(many + frame(CONTINUATION, fin=False) * 100 + frame(CONTINUATION, b"c"))
        assert [each.data for each in await talk.events()] == ["a" + "b" * 4998 + "c"]  # type: ignore[attr-defined]


# the end of a worker


async def test_farewell(autojump_clock: MockClock) -> None:
    async with talking(listen) as talk:
        assert not talk.service.farewell()
    async with talking(listen) as talk:
        await talk.shake()
        talk.service.drain()
        assert await talk.answer(text("a")) == []
        assert talk.state() == "open"
        assert talk.service.farewell()
        assert await talk.answer(close(1012)) == [RESTART]
        assert talk.got[-1] == {"type": DISCONNECT, "code": 1012, "reason": "service restart"}
        await talk.over.wait()
        assert not talk.service.farewell()


async def test_farewell_to_who_comes_late(autojump_clock: MockClock) -> None:
    async with talking(listen) as talk:
        talk.service.farewell()
        assert (await talk.open()).startswith(ACCEPTED)
        assert talk.got[-1]["code"] == 1012


async def test_farewell_comes_behind_what_is_being_sent(autojump_clock: MockClock) -> None:
    sender = Sender(1)
    async with talking(sender, room=0) as talk:
        talk.transport.take(len(ACCEPTED) + 2 + 5000)
        await talk.shake()
        assert talk.service.farewell()
        talk.transport.take(None)
        events = await talk.events()
        assert events[-1].code == 1012  # type: ignore[attr-defined]
        assert (sender.sent, sender.error) == (1, None)


@pytest.mark.parametrize("app", [echo, deaf])
async def test_who_is_cancelled_says_close(app: object, autojump_clock: MockClock) -> None:
    heard = await cancelled(app, room=None)
    assert heard.endswith(b"\x88\x11\x03\xf4service restart")


async def test_who_is_cancelled_within_a_frame_says_nothing_wrong(
    autojump_clock: MockClock,
) -> None:
    heard = await cancelled(Sender(1), room=len(ACCEPTED) + 2 + 5000)
    assert b"restart" not in heard


async def cancelled(app: object, room: int | None) -> bytes:
    """What a client has heard when a worker's time is over."""
    talk: Talk
    async with talking(app, room=room) as talk:  # type: ignore[arg-type]
        await talk.shake()
    assert talk.state() == "closed"
    assert talk.transport.half_closed
    return talk.transport.sent


async def test_who_is_cancelled_while_it_waits_for_a_close(autojump_clock: MockClock) -> None:
    async with talking() as talk:
        await talk.shake()
        talk.service.farewell()
        await talk.hear()
    assert talk.state() == "closed"
    assert not talk.service._websockets._wires


async def test_registered_only_while_open(autojump_clock: MockClock) -> None:
    messages: list[Message] = []
    async with talking() as talk:
        wires = talk.service._websockets._wires
        await talk.shake()
        assert len(wires) == 1
        talk.say(close(1000))
        await talk.over.wait()
        assert not wires
        assert not messages
