"""Bodies: by length, by chunks, cut anywhere; and h11 agrees with whatever we accept."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.http1 import Http1Config, RequestError
from balancer.http1.bodies import ChunkedReader, LengthReader

LIMITS = Http1Config(max_head=200, max_fields=3)
Result = tuple[bytes, list[tuple[bytes, bytes]], bytes] | int | None


def decode(data: bytes, size: int, limits: Http1Config = LIMITS) -> Result:
    """Body, trailers and what is left, for bytes that come ``size`` at a time."""
    reader = ChunkedReader(limits)
    body = buffer = b""
    for start in range(0, len(data), size):
        buffer += data[start : start + size]
        try:
            while not reader.done:
                piece, buffer = reader.take(buffer)
                body += piece
                if not piece:
                    break
        except RequestError as error:
            return error.status
        if reader.done:
            return body, reader.trailers, buffer + data[start + size :]
    return None


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("data", "result"),
    [
        (b"0\r\n\r\n", (b"", [], b"")),
        (b"5\r\nhello\r\n0\r\n\r\nGET", (b"hello", [], b"GET")),
        (b"5;a=b;c\r\nhello\r\nA\r\n0123456789\r\n000\r\n\r\n", (b"hello0123456789", [], b"")),
        (b"1\r\nx\r\n0\r\nX-A: b \r\nc:\r\n\r\n", (b"x", [(b"x-a", b"b"), (b"c", b"")], b"")),
        (b"5\r\nhel", None),
        (b"5\r\nhello\n", 400),
        (b"5\r\nhellox", 400),
        (b"5\nhello", 400),
        (b"g\r\n", 400),
        (b"-1\r\n", 400),
        (b"0x1\r\n", 400),
        (b" 1\r\n", 400),
        (b"1 \r\n", 400),
        (b"\r\n", 400),
        (b"1;a\rb\r\nx", 400),
        (b"1;a\x00\r\nx", 400),
        (b"1" * 16 + b"\r\n", 400),
        (b"1;" + b"a" * 1023 + b"\r\nx", 400),
        (b"1;" + b"a" * 1100, 400),
        ((b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 17, 400),
        (b"0\r\nX : y\r\n\r\n", 400),
        (b"0\r\n X: y\r\n\r\n", 400),
        (b"0\r\nX: y\n\r\n", 400),
        (b"0\r\nX: " + b"y" * 250, 431),
        (b"0\r\n" + b"X: y\r\n" * 4, 431),
        (b"0\r\n" + (b"X: " + b"y" * 90 + b"\r\n") * 3, 431),
    ],
)
def test_chunks(data: bytes, result: Result, size: int) -> None:
    assert decode(data, size) == result


@pytest.mark.parametrize("size", [1, 1000])
def test_the_limit_counts_all_chunks(size: int) -> None:
    limits = Http1Config(max_body=5)
    assert decode(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", size, limits) == (b"abcde", [], b"")
    assert decode(b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", size, limits) == 413


@given(st.lists(st.binary(max_size=30)), st.integers(1, 40), st.binary(max_size=5))
def test_what_was_chunked_comes_back(pieces: list[bytes], size: int, behind: bytes) -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces if each)
    assert decode(data + b"0\r\n\r\n" + behind, size) == (b"".join(pieces), [], behind)


parts = st.sampled_from(
    [
        b"0",
        b"1",
        b"5",
        b"a",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b";",
        b"x",
        b"hello",
        b" ",
        b":",
    ]
)


@settings(max_examples=400)
@given(st.lists(parts, max_size=14).map(b"".join))
def test_h11_agrees_with_whatever_we_accept(data: bytes) -> None:
    ours = decode(data, 1000)
    assert decode(data, 1) == ours
    if not isinstance(ours, tuple):
        return
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    assert isinstance(parser.next_event(), h11.Request)
    body = b""
    while isinstance(event := parser.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert (body, list(event.headers), parser.trailing_data[0]) == ours


def test_many_small_chunks_are_one_piece() -> None:
    """One by one, each would cost a copy of all that is behind it."""
    reader = ChunkedReader(LIMITS)
    assert reader.take(b"1\r\nx\r\n" * 1000 + b"2\r\ny") == (b"x" * 1000 + b"y", b"")
    assert reader.take(b"y\r\n0\r\n\r\nnext") == (b"y", b"next")
    assert reader.done


def test_length() -> None:
    reader = LengthReader(5)
    assert reader.take(b"hel") == (b"hel", b"")
    assert (reader.done, reader.remaining()) == (False, 2)
    assert reader.take(b"loGET") == (b"lo", b"GET")
    assert (reader.done, reader.remaining()) == (True, 0)
