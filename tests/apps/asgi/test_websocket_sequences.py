"""Whatever an app says in whatever order: what may not be said raises, and the wire stays legal."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection

from balancer.http1 import MisuseError
from tests.apps.asgi.websocket_support import (
    REQUEST,
    TEXT,
    close,
    frame,
    parse,
    short,
    talking,
)

if TYPE_CHECKING:
    from balancer.apps.asgi.types import Message, Receive, Scope, Send

# messages that may be sent somewhere, and others
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"x-a", b"set-cookie", b"sec-websocket-protocol", b"x y", b"upgrade"]),
        st.sampled_from([b"1", b"", b"a\r\nb: c", b"caf\xe9"]),
    ),
    max_size=2,
)
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, 17, "text", b"bytes", "half \ud800", 1.5, [], {}]
)
FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "websocket.accept": {"subprotocol": st.sampled_from([None, "a", "z"]), "headers": HEADERS},
    "websocket.send": {
        "text": st.one_of(st.none(), st.text(max_size=70), ODD),
        "bytes": st.one_of(st.none(), st.binary(max_size=200), ODD),
    },
    "websocket.close": {
        "code": st.one_of(st.none(), st.sampled_from([1000, 1005, 1006, 999, 4000]), ODD),
        "reason": st.one_of(st.none(), st.text(max_size=130), ODD),
    },
    "websocket.http.response.start": {
        "status": st.sampled_from([200, 204, 404, 101, 99, 600]),
        "headers": HEADERS,
    },
    "websocket.http.response.body": {
        "body": st.one_of(st.binary(max_size=20), ODD),
        "more_body": st.booleans(),
    },
    "websocket.receive": {},
    "websocket.disconnect": {},
    "http.response.start": {"status": st.just(200)},
    "http.response.body": {},
}
# so that not everything ends before it has begun
KINDS = ["websocket.accept", *["websocket.send"] * 6, *FIELDS]


@st.composite
def messages(draw: st.DrawFn) -> Message:
    kind = draw(st.sampled_from(KINDS))
    if kind == "websocket.send" and draw(st.booleans()):
        return {"type": kind, draw(st.sampled_from(["text", "bytes"])): draw(ODD)}
    return {"type": kind, **draw(st.fixed_dictionaries({}, optional=FIELDS[kind]))}


STEPS = st.lists(
    st.one_of(messages(), messages(), messages(), st.sampled_from(["receive", "client", "close"])),
    max_size=12,
)


@given(STEPS, st.sampled_from([None, 0, 1, 150, 400]))
def test_any_sequence(steps: list[Message | str], room: int | None) -> None:
    trio.run(play, [*steps], room, clock=trio.testing.MockClock(autojump_threshold=0))


async def play(steps: list[Message | str], room: int | None) -> None:
    """The client reads all of it in the end, and closes."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await receive()
        for step in steps:
            if step == "client":
                talk.say(frame(TEXT, b"from the client"))
            elif step == "close":
                talk.say(close(4001))
            elif step == "receive":
                with trio.move_on_after(0.01):
                    await receive()
            else:
                assert not isinstance(step, str)
                with suppress(MisuseError, OSError, KeyError, TypeError):
                    await send(step)
                    sent.append(step)

    async with talking(app, room=room) as talk:
        talk.say(REQUEST + b"Sec-WebSocket-Protocol: a, b\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        talk.transport.take(None)
        await trio.sleep(1)
        talk.say(close(1000))
        talk.transport.feed_eof()
        await talk.over.wait()
    check(talk.transport.sent, sent)


def check(wire: bytes, sent: list[Message]) -> None:
    """All that was taken from the app is on the wire, in its order, and nothing else."""
    head, end, rest = wire.partition(b"\r\n\r\n")
    assert end
    assert b"b: c" not in head
    status = int(head.split()[1])
    if not sent or [each["type"] for each in sent] == ["websocket.http.response.start"]:
        assert status == 500  # a head alone is kept back: there may be something better to say
    elif sent[0]["type"] == "websocket.accept":
        assert status == 101
        *messages, last = parse(Connection(ConnectionType.CLIENT), rest)
        assert isinstance(last, CloseConnection)
        heard = [short(each) for each in messages]
        payloads = [payload(each) for each in sent if each["type"] == "websocket.send"]
        assert heard == payloads
    else:
        assert status == sent[0].get("status", 403)
        assert {each["type"] for each in sent[1:]} <= {"websocket.http.response.body"}


def payload(message: Message) -> str | bytes:
    text: str | None = message.get("text")
    return message["bytes"] if text is None else text
