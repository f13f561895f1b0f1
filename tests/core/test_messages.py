"""Messages to bytes and back, however the bytes arrive."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.messages import (
    LENGTH,
    MAX_FRAME,
    Begin,
    BootFailed,
    Configure,
    Drain,
    Drained,
    Exited,
    ForkServerMessage,
    ForkServerRequest,
    FrameDecoder,
    Guard,
    Leaving,
    PacketDecoder,
    PreloadFailed,
    ProtocolError,
    Quit,
    Ready,
    Reopen,
    Resume,
    Resumed,
    SetLogLevel,
    Spawn,
    Spawned,
    SpawnFailed,
    Warm,
    WorkerConfig,
    WorkerMessage,
    WorkerRequest,
    encode_frame,
    encode_packet,
)

UNIONS = [WorkerMessage, WorkerRequest, ForkServerRequest, ForkServerMessage]
WORKER_MESSAGES = st.one_of(
    st.just(Ready()),
    st.builds(BootFailed, st.text(max_size=300), st.booleans()),
    st.builds(Leaving, st.text(max_size=20), st.booleans()),
    st.just(Drained()),
    st.just(Resumed()),
)
WORKER_REQUESTS = st.one_of(
    st.builds(Drain, st.floats(0, 1e6), st.booleans()),
    st.just(Resume()),
    st.just(Begin()),
    st.just(Quit()),
    st.just(Reopen()),
    st.builds(SetLogLevel, st.text(max_size=20)),
)
IDS = st.integers(0, 2**40)
CONFIGS = st.builds(
    WorkerConfig,
    app=st.one_of(st.none(), st.text(max_size=20)),
    worker_connections=IDS,
    keep_alive=st.floats(0, 1e6),
    shared_accept=st.booleans(),
)
FORK_SERVER_REQUESTS = st.one_of(
    st.builds(Configure, CONFIGS, st.text(max_size=20), st.floats(0, 1e6), st.booleans()),
    st.builds(Spawn, IDS, IDS, IDS, st.lists(st.integers(0, 100), max_size=5).map(tuple)),
    st.just(Guard()),
)
FORK_SERVER_MESSAGES = st.one_of(
    st.just(Warm()),
    st.builds(PreloadFailed, st.text(max_size=300)),
    st.builds(Spawned, IDS, IDS),
    st.builds(SpawnFailed, IDS, st.text(max_size=30)),
    st.builds(Exited, IDS, IDS, st.integers(-64, 255)),
)
BY_UNION = list(
    zip(
        UNIONS,
        [WORKER_MESSAGES, WORKER_REQUESTS, FORK_SERVER_REQUESTS, FORK_SERVER_MESSAGES],
        strict=True,
    )
)


def feed(decoder: FrameDecoder[Any], stream: bytes, cuts: list[int]) -> list[Any]:
    ends = sorted({cut % (len(stream) + 1) for cut in cuts} | {len(stream)})
    messages, start = [], 0
    for end in ends:
        messages += decoder.feed(stream[start:end])
        start = end
    return messages


class TestRoundTrip:
    def test_every_type_is_covered_here(self) -> None:
        tested = {
            type(strategy_part)
            for strategy_part in [
                Ready(), BootFailed(""), Leaving(""), Drained(), Resumed(), Drain(0), Begin(),
                Resume(), Quit(), Reopen(), SetLogLevel(""),
                Configure(WorkerConfig(), "", 0), Spawn(0, 0, 0, ()), Guard(), Warm(),
                PreloadFailed(""), Spawned(0, 0), SpawnFailed(0, ""), Exited(0, 0, 0),
            ]
        }  # fmt: skip
        assert tested == {kind for union in UNIONS for kind in union.__args__}

    @pytest.mark.parametrize(("union", "messages"), BY_UNION)
    @given(data=st.data())
    def test_a_packet_says_what_was_said(
        self, union: object, messages: st.SearchStrategy[Any], data: st.DataObject
    ) -> None:
        message = data.draw(messages)
        decode: PacketDecoder[Any] = PacketDecoder(union)
        assert decode(encode_packet(message)) == message

    @pytest.mark.parametrize(("union", "messages"), BY_UNION)
    @given(data=st.data())
    def test_frames_survive_any_split(
        self, union: object, messages: st.SearchStrategy[Any], data: st.DataObject
    ) -> None:
        said = data.draw(st.lists(messages, max_size=5))
        stream = b"".join(map(encode_frame, said))
        cuts = data.draw(st.lists(st.integers(0, 2**16), max_size=8))
        assert feed(FrameDecoder(union), stream, cuts) == said

    @given(st.lists(WORKER_MESSAGES, max_size=4))
    def test_frames_survive_coming_byte_by_byte(self, said: list[Any]) -> None:
        decoder: FrameDecoder[WorkerMessage] = FrameDecoder(WorkerMessage)
        heard = []
        for byte in b"".join(map(encode_frame, said)):
            heard += decoder.feed(bytes([byte]))
        assert heard == said

    def test_a_message_is_there_with_its_last_byte_and_not_before(self) -> None:
        decoder: FrameDecoder[WorkerMessage] = FrameDecoder(WorkerMessage)
        frame = encode_frame(BootFailed("no"))
        assert decoder.feed(frame[:-1]) == []
        assert decoder.feed(frame[-1:]) == [BootFailed("no")]

    def test_a_large_message_passes(self) -> None:
        message = BootFailed("x" * 1_000_000)
        decoder: FrameDecoder[WorkerMessage] = FrameDecoder(WorkerMessage)
        assert decoder.feed(encode_frame(message)) == [message]


class TestGarbage:
    @pytest.mark.parametrize("union", UNIONS)
    @given(packet=st.binary(max_size=64))
    def test_a_packet_of_garbage_is_a_protocol_error(self, union: object, packet: bytes) -> None:
        decode: PacketDecoder[Any] = PacketDecoder(union)
        with suppress(ProtocolError):
            decode(packet)

    @given(st.one_of(WORKER_MESSAGES), st.data())
    def test_a_message_with_flipped_bytes_is_a_message_or_a_protocol_error(
        self, message: WorkerMessage, data: st.DataObject
    ) -> None:
        packet = bytearray(encode_packet(message))
        for _ in range(data.draw(st.integers(1, 3))):
            packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
        with suppress(ProtocolError):
            PacketDecoder[Any](WorkerMessage)(bytes(packet))

    @given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
    def test_a_stream_of_garbage_is_a_protocol_error(self, stream: bytes, cuts: list[int]) -> None:
        with suppress(ProtocolError):
            feed(FrameDecoder(WorkerMessage), stream, cuts)

    def test_text_that_is_not_utf_8(self) -> None:
        packet = encode_packet(BootFailed("café")).replace("é".encode(), b"\xff\xfe")
        with pytest.raises(ProtocolError):
            PacketDecoder[Any](WorkerMessage)(packet)

    def test_nesting_without_end(self) -> None:
        deep = msgspec.msgpack.encode({"type": "Ready", "x": 0})[:-1] + b"\x91" * 100_000 + b"\xc0"
        with pytest.raises(ProtocolError):
            PacketDecoder[Any](WorkerMessage)(deep)

    def test_a_frame_that_is_too_long_is_refused_by_its_length_alone(self) -> None:
        decoder: FrameDecoder[Any] = FrameDecoder(WorkerMessage)
        with pytest.raises(ProtocolError, match="16777217 bytes"):
            decoder.feed((MAX_FRAME + 1).to_bytes(LENGTH, "big"))

    @pytest.mark.parametrize(
        "message",
        [Drain(1.0), Warm()],
        ids=["of another union", "of another socket"],
    )
    def test_a_message_for_somebody_else_is_a_protocol_error(
        self, message: WorkerRequest | ForkServerMessage
    ) -> None:
        with pytest.raises(ProtocolError):
            PacketDecoder[Any](WorkerMessage)(encode_packet(message))

    def test_the_error_shows_no_traceback_of_the_library(self) -> None:
        with pytest.raises(ProtocolError, match="Frobnicate"):
            PacketDecoder[Any](WorkerMessage)(msgspec.msgpack.encode({"type": "Frobnicate"}))


class TestOtherVersions:
    def test_unknown_fields_are_ignored(self) -> None:
        packet = msgspec.msgpack.encode({"type": "Leaving", "reason": "x", "mood": [1, {"a": 2}]})
        assert PacketDecoder[Any](WorkerMessage)(packet) == Leaving("x")

    def test_missing_fields_have_defaults(self) -> None:
        packet = msgspec.msgpack.encode({"type": "Drain", "seconds": 3})
        assert PacketDecoder[Any](WorkerRequest)(packet) == Drain(3.0, leave=True)

    def test_a_missing_field_without_default_is_a_protocol_error(self) -> None:
        with pytest.raises(ProtocolError, match="seconds"):
            PacketDecoder[Any](WorkerRequest)(msgspec.msgpack.encode({"type": "Drain"}))
