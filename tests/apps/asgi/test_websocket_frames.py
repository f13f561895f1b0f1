"""The frames of RFC 6455: sections 5.4 to 5.6 and 7, each whole and byte by byte."""

from __future__ import annotations

from typing import Any

import pytest
import trio.testing

from balancer.apps.asgi.websocket.config import WebSocketConfig
from tests.apps.asgi.websocket_support import (
    ACCEPTED,
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    REQUEST,
    TEXT,
    close,
    frame,
    listen,
    talking,
)
from tests.http1.fakes import CUTS

cut = pytest.mark.parametrize("piece", CUTS, ids=["whole", "bytewise"])

Heard = list[Any]


async def answers(data: bytes, piece: int, **config: Any) -> Heard:  # noqa: ANN401
    """What an echo server says to these frames, which come after the handshake."""
    settings = WebSocketConfig(ping_interval=0, **config)
    async with talking(piece=piece, config=settings) as talk:
        assert await talk.open() == ACCEPTED + b"\r\n"
        heard = await talk.answer(data)
        # both have said Close, or we have refused to read on: the server is the first to hang up
        assert (talk.state() != "open") == any(each[:1] == ("close",) for each in heard)
        return heard


def text(payload: str) -> bytes:
    return frame(TEXT, payload.encode())


# what may be said

FRAMED = "κόσμε \U0001f600 ".encode()

LEGAL: dict[str, tuple[bytes, Heard]] = {
    "text": (text("hello"), ["hello"]),
    "text, 125 bytes": (text("x" * 125), ["x" * 125]),
    "text, 126 bytes": (text("x" * 126), ["x" * 126]),
    "text, 65536 bytes": (text("x" * 65536), ["x" * 65536]),
    "binary": (frame(BINARY, b"\x00\xff"), [b"\x00\xff"]),
    "empty text": (text(""), [""]),
    "empty binary": (frame(BINARY), [b""]),
    "several": (text("a") + text("b") + frame(BINARY, b"c"), ["a", "b", b"c"]),
    "fragments": (
        frame(TEXT, b"a", fin=False)
        + frame(CONTINUATION, b"b", fin=False)
        + frame(CONTINUATION, b"c"),
        ["abc"],
    ),
    "binary fragments": (
        frame(BINARY, b"a", fin=False) + frame(CONTINUATION, b"b"),
        [b"ab"],
    ),
    "empty fragments": (
        frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION),
        [""],
    ),
    "line ends in fragments": (
        frame(TEXT, b"a\r\n", fin=False) + frame(CONTINUATION, b"\nb\r"),
        ["a\r\n\nb\r"],
    ),
    "a ping between fragments": (
        frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"b"),
        [("pong", b"p"), "ab"],
    ),
    "a pong between fragments": (
        frame(TEXT, b"a", fin=False) + frame(PONG, b"p") + frame(CONTINUATION, b"b"),
        ["ab"],
    ),
    "an unasked pong": (frame(PONG, b"anything") + text("a"), ["a"]),
    "an empty ping": (frame(PING), [("pong", b"")]),
    "a full ping": (frame(PING, b"p" * 125), [("pong", b"p" * 125)]),
    "a character split over fragments": (
        b"".join(frame(bool(i == 0), FRAMED[i : i + 1], fin=False) for i in range(len(FRAMED)))
        + frame(CONTINUATION),
        [FRAMED.decode()],
    ),
    "characters at the edges": (text("\0\x7f\x80\uffff\U0010ffff"), ["\0\x7f\x80\uffff\U0010ffff"]),
    "close": (close(1000, b"bye"), [("close", 1000, "bye")]),
    "close without a code": (close(), [("close", 1005, "")]),
    "close with the longest reason": (close(1000, b"x" * 123), [("close", 1000, "x" * 123)]),
    "nothing counts after close": (close(1000) + text("a") + b"\xff", [("close", 1000, "")]),
    "close between fragments": (frame(TEXT, b"a", fin=False) + close(1000), [("close", 1000, "")]),
}


@cut
@pytest.mark.parametrize("name", LEGAL)
async def test_legal(name: str, piece: int) -> None:
    data, expected = LEGAL[name]
    heard = await answers(data, piece)
    # a pong may leave before or after an echo, but everything leaves
    assert sorted(heard, key=repr) == sorted(expected, key=repr)
    if not any(isinstance(each, tuple) and each[0] == "pong" for each in expected):
        assert heard == expected


# what may not be said

ILLEGAL: dict[str, tuple[bytes, int]] = {
    **{f"opcode {code:#x}": (frame(code), 1002) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"reserved bits {rsv}": (frame(TEXT, b"a", rsv=rsv), 1002) for rsv in range(1, 8)},
    "reserved bits of a ping": (frame(PING, rsv=4), 1002),
    "not masked": (frame(TEXT, b"a", mask=False), 1002),
    "a ping not masked": (frame(PING, mask=False), 1002),
    "a fragmented ping": (frame(PING, fin=False), 1002),
    "a fragmented close": (frame(CLOSE, fin=False), 1002),
    "an overlong ping": (frame(PING, b"x" * 126), 1002),
    "an overlong close": (close(1000, b"x" * 124), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"a"), 1002),
    "continuation after the end": (
        frame(TEXT, b"a", fin=False) + frame(CONTINUATION) + frame(CONTINUATION),
        1002,
    ),
    "a message within a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "two bytes of length for one": (bytes([0x81, 0xFE, 0, 125]) + b"\0" * 4, 1002),
    "eight bytes of length for two": (bytes([0x81, 0xFF]) + (65535).to_bytes(8, "big"), 1002),
    "the highest bit of a length": (bytes([0x82, 0xFF, 0x80]) + bytes(7), 1002),
    "close with one byte": (frame(CLOSE, b"\x03"), 1002),
    **{
        f"close with {code}": (close(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "close with a reason that is no UTF-8": (close(1000, b"\xff"), 1007),
    "no UTF-8": (frame(TEXT, b"\xff"), 1007),
    "an overlong encoding": (frame(TEXT, b"\xc0\xaf"), 1007),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "beyond Unicode": (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    "a character that does not end": (frame(TEXT, b"\xce"), 1007),
    "no UTF-8 over fragments": (
        frame(TEXT, b"\xce", fin=False) + frame(CONTINUATION, b"a", fin=False),
        1007,
    ),
    "a character that does not end with its fragments": (
        frame(TEXT, b"\xce", fin=False) + frame(CONTINUATION),
        1007,
    ),
    "no UTF-8 before the message is complete": (frame(TEXT, b"\xff", fin=False), 1007),
}


@cut
@pytest.mark.parametrize("name", ILLEGAL)
async def test_illegal(name: str, piece: int) -> None:
    data, code = ILLEGAL[name]
    async with talking(piece=piece) as talk:
        await talk.open()
        assert await talk.answer(text("before")) == ["before"]
        last = (await talk.answer(data))[-1]
        assert last[:2] == ("close", code)
        assert talk.state() == "half-closed"
        talk.transport.feed_eof()
        await talk.over.wait()
        assert talk.state() == "closed"


@cut
@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013,
                                  3000, 3999, 4000, 4999])  # fmt: skip
async def test_codes_that_a_client_may_close_with(code: int, piece: int) -> None:
    async with talking(piece=piece) as talk:
        await talk.open()
        assert await talk.answer(close(code, "grüße".encode())) == [("close", code, "grüße")]
        assert talk.got[-1] == {"type": "websocket.disconnect", "code": code, "reason": "grüße"}


@cut
async def test_the_app_hears_the_code_that_we_closed_with(piece: int) -> None:
    async with talking(piece=piece) as talk:
        await talk.open()
        await talk.answer(frame(TEXT, b"\xff"))
        assert talk.got[-1]["type"] == "websocket.disconnect"
        assert talk.got[-1]["code"] == 1007


@cut
async def test_what_came_before_a_close_is_received_before_it(piece: int) -> None:
    async with talking(listen, piece=piece) as talk:
        await talk.open()
        talk.say(text("a") + text("b") + close(1001))
        await talk.over.wait()
        _, *messages, last = talk.got
        assert [message["text"] for message in messages] == ["a", "b"]
        assert last == {"type": "websocket.disconnect", "code": 1001, "reason": ""}


@cut
async def test_1005_and_1006(piece: int) -> None:
    async with talking(piece=piece) as talk:
        await talk.open()
        await talk.answer(close())
        assert talk.got[-1] == {"type": "websocket.disconnect", "code": 1005, "reason": ""}
    for end in ("feed_eof", "reset"):
        async with talking(piece=piece) as talk:
            await talk.open()
            assert await talk.answer(text("a")) == ["a"]
            getattr(talk.transport, end)()
            await talk.over.wait()
            assert talk.got[-1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


@cut
@pytest.mark.parametrize(
    "data",
    [
        frame(BINARY, bytes(101)),
        frame(BINARY, bytes(60), fin=False) + frame(CONTINUATION, bytes(41)),
        bytes([0x82, 0xFE]) + (1000).to_bytes(2, "big") + bytes(4),  # announced is enough
        frame(TEXT, "ä".encode() * 51),
    ],
    ids=["one frame", "two frames", "announced", "bytes, not characters"],
)
async def test_too_big(data: bytes, piece: int) -> None:
    heard = await answers(data, piece, max_size=100)
    assert heard == [("close", 1009, "a message may have 100 bytes")]


@cut
async def test_as_big_as_allowed(piece: int) -> None:
    async with talking(piece=piece, config=WebSocketConfig(max_size=100)) as talk:
        await talk.open()
        assert await talk.answer(frame(BINARY, bytes(100))) == [bytes(100)]
        fragments = frame(BINARY, bytes(60), fin=False) + frame(CONTINUATION, bytes(40))
        assert await talk.answer(fragments * 2) == [bytes(100)] * 2


async def test_frames_that_come_with_the_handshake() -> None:
    """A client may not, before it has read the 101, but nothing is lost if it does."""
    async with talking() as talk:
        talk.say(REQUEST + b"\r\n" + text("early"))
        heard = await talk.hear()
        assert heard == ACCEPTED + b"\r\n" + b"\x81\x05early"


async def test_of_several_pings_the_last_is_answered() -> None:
    async with talking() as talk:
        await talk.open()
        pings = b"".join(frame(PING, b"%d" % number) for number in range(1000))
        assert await talk.answer(pings) == [("pong", b"999")]


async def test_what_comes_after_a_violation_is_discarded_for_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with talking() as talk:
        await talk.open()
        await talk.answer(b"\xff\xff")
        assert talk.state() == "half-closed"
        talk.say(bytes(1 << 20))
        await talk.hear()
        assert talk.state() == "half-closed"
        assert not talk.transport.unread
        await talk.over.wait()
        assert 9.5 <= trio.current_time() <= 11
        assert autojump_clock is not None
