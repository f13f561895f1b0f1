"""permessage-deflate (RFC 7692): both ways, with every parameter, and against bombs."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.extensions import PerMessageDeflate

from balancer.apps.asgi.websocket.config import WebSocketConfig
from balancer.apps.asgi.websocket.payload import TAIL
from tests.apps.asgi.websocket_support import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    Talk,
    close,
    frame,
    talking,
)
from tests.http1.fakes import CUTS

cut = pytest.mark.parametrize("piece", CUTS, ids=["whole", "bytewise"])

JSON = b'{"id": 17, "user": "somebody", "text": "something that is said more than once"}'
RSV1 = 4


def compress(data: bytes, *, final: bool = False) -> bytes:
    compressor = zlib.compressobj(-1, zlib.DEFLATED, -15)
    compressed = compressor.compress(data)
    if final:
        return compressed + compressor.flush(zlib.Z_FINISH)
    return (compressed + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


async def shake(talk: Talk, parameters: bytes = b"") -> None:
    """Offer compression, and read what comes as was agreed on."""
    head = await talk.open(b"Sec-WebSocket-Extensions: permessage-deflate" + parameters + b"\r\n")
    [line] = [each for each in head.split(b"\r\n") if each.startswith(b"Sec-WebSocket-Ext")]
    extension = PerMessageDeflate()
    extension.finalize(line.partition(b": ")[2].decode())
    talk.parser = Connection(ConnectionType.CLIENT, [extension])


@cut
@pytest.mark.parametrize(
    "parameters",
    [
        b"",
        b"; server_no_context_takeover",
        b"; client_no_context_takeover; server_no_context_takeover",
        b"; server_max_window_bits=9; client_max_window_bits=9",
        b"; client_max_window_bits",
    ],
)
async def test_both_ways(parameters: bytes, piece: int) -> None:
    async with talking(piece=piece) as talk:
        await shake(talk, parameters)
        takes_over = b"client_no" not in parameters
        compressor = zlib.compressobj(-1, zlib.DEFLATED, -9)
        sizes = []
        for _ in range(3):
            data = compressor.compress(JSON) + compressor.flush(zlib.Z_SYNC_FLUSH)
            talk.say(frame(TEXT, data.removesuffix(TAIL), rsv=RSV1))
            if not takes_over:
                compressor = zlib.compressobj(-1, zlib.DEFLATED, -9)
            answer = await talk.hear()
            sizes.append(len(answer))
            talk.transport.sent = answer
            assert await talk.answer(b"") == [JSON.decode()]
        assert max(sizes) <= len(JSON)
        assert (sizes[1] < sizes[0] / 2) == (b"server_no" not in parameters)


@cut
async def test_small_messages_and_control_frames_are_not_compressed(piece: int) -> None:
    async with talking(piece=piece) as talk:
        await shake(talk)
        talk.say(frame(TEXT, b"a" * 63) + frame(PING, b"b" * 100))
        assert await talk.hear() in (
            b"\x81\x3f" + b"a" * 63 + b"\x8a\x64" + b"b" * 100,
            b"\x8a\x64" + b"b" * 100 + b"\x81\x3f" + b"a" * 63,
        )


@cut
async def test_fragments_with_a_ping_between_them(piece: int) -> None:
    data = compress(JSON)
    async with talking(piece=piece) as talk:
        await shake(talk)
        heard = await talk.answer(
            frame(TEXT, data[:10], fin=False, rsv=RSV1)
            + frame(PING, b"p")
            + frame(CONTINUATION, data[10:20], fin=False)
            + frame(CONTINUATION, data[20:])
        )
        assert heard == [("pong", b"p"), JSON.decode()]
        assert await talk.answer(frame(TEXT, b"plain")) == ["plain"]


@cut
@pytest.mark.parametrize(
    "data",
    [
        compress(JSON, final=True),
        compress(JSON, final=True) + b"\0",  # as RFC 7692 7.2.3.4 has it
        compress(JSON[:30], final=True) + compress(JSON[30:]),
    ],
)
async def test_a_final_block_is_the_end_of_nothing(data: bytes, piece: int) -> None:
    async with talking(piece=piece) as talk:
        await shake(talk)
        for _ in range(3):
            assert await talk.answer(frame(TEXT, data, rsv=RSV1)) == [JSON.decode()]


@cut
async def test_an_empty_message(piece: int) -> None:
    async with talking(piece=piece) as talk:
        await shake(talk)
        assert await talk.answer(frame(BINARY, b"\0", rsv=RSV1)) == [b""]
        assert await talk.answer(frame(TEXT, compress(JSON), rsv=RSV1)) == [JSON.decode()]


@cut
@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (frame(TEXT, b"\xff\xff\xff", rsv=RSV1), (1002, "the compressed data is malformed")),
        (frame(TEXT, compress(b"\xff"), rsv=RSV1), (1007, None)),
        (frame(PING, rsv=RSV1), (1002, "a reserved bit is set")),
        (frame(TEXT, fin=False) + frame(CONTINUATION, rsv=RSV1), (1002, "a reserved bit is set")),
        (frame(TEXT, b"a", rsv=RSV1 | 2), (1002, None)),
        (frame(BINARY, compress(bytes(1001)), rsv=RSV1), (1009, "a message may have 1000 bytes")),
        (
            frame(BINARY, compress(bytes(1200))[:-1], rsv=RSV1, fin=False)
            + frame(CONTINUATION, compress(bytes(1200))[-1:]),
            (1009, "a message may have 1000 bytes"),
        ),
    ],
)
async def test_what_is_refused(data: bytes, answer: tuple[int, str | None], piece: int) -> None:
    async with talking(piece=piece, config=WebSocketConfig(max_size=1000)) as talk:
        await shake(talk)
        assert await talk.answer(frame(BINARY, compress(bytes(1000)), rsv=RSV1)) == [bytes(1000)]
        [heard] = await talk.answer(data)
        code, reason = answer
        assert heard[:2] == ("close", code)
        assert reason in (None, heard[2])


async def test_a_bomb_takes_no_memory() -> None:
    bomb = compress(bytes(200 << 20))
    assert len(bomb) < 210_000
    async with talking(config=WebSocketConfig(max_size=1 << 20)) as talk:
        await shake(talk)
        tracemalloc.start()
        try:
            [heard] = await talk.answer(frame(BINARY, bomb, rsv=RSV1))
            assert heard[:2] == ("close", 1009)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


async def test_a_compressed_conversation_closes() -> None:
    async with talking() as talk:
        await shake(talk)
        assert await talk.answer(close(1000, b"bye" * 30)) == [("close", 1000, "bye" * 30)]
