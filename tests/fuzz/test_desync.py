"""The desync matrix: every way to say two lengths, with a second request hidden in the first.

Whatever two parsers could read in two ways is refused before an upstream is asked, the client hears
one answer, and its connection ends there.  What has one meaning only is passed on with that.
"""

from __future__ import annotations

import pytest

from tests.fuzz.bench import Bench
from tests.fuzz.judge import judge_requests, status_counts

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"
CHUNKED = b"0\r\n\r\n" + SMUGGLED
"""Chunked it is empty and a request follows; by a length it is a body."""
LENGTH = b"Content-Length: %d\r\n" % len(CHUNKED)
CODING = b"Transfer-Encoding: chunked\r\n"

# What makes the framing ambiguous or ill, whatever the version: (lines, status).
REFUSED = {
    "CL, TE": (LENGTH + CODING, 400),
    "TE, CL": (CODING + LENGTH, 400),
    "CL: 0, TE": (b"Content-Length: 0\r\n" + CODING, 400),
    "two lengths": (LENGTH + b"Content-Length: 0\r\n", 400),
    "two lengths in a list": (b"Content-Length: 0, 43\r\n", 400),
    "length +": (b"Content-Length: +43\r\n", 400),
    "length -": (b"Content-Length: -1\r\n", 400),
    "length hex": (b"Content-Length: 0x2b\r\n", 400),
    "length _": (b"Content-Length: 4_3\r\n", 400),
    "length float": (b"Content-Length: 43.0\r\n", 400),
    "length empty": (b"Content-Length:\r\n", 400),
    "length with a blank inside": (b"Content-Length: 4 3\r\n", 400),
    "length with other digits": (b"Content-Length: \xd9\xa4\r\n", 400),
    "length of 20 digits": (b"Content-Length: 18446744073709551659\r\n", 413),
    "length of 19 digits": (b"Content-Length: 9223372036854775807\r\n", 413),
    "blank before the colon of CL": (b"Content-Length : 43\r\n", 400),
    "tab before the colon of CL": (b"Content-Length\t: 43\r\n", 400),
    "blank before the colon of TE": (b"Transfer-Encoding : chunked\r\n", 400),
    "TE twice": (CODING + CODING, 501),
    "TE chunked, chunked": (b"Transfer-Encoding: chunked, chunked\r\n", 501),
    "TE gzip, chunked": (b"Transfer-Encoding: gzip, chunked\r\n", 501),
    "TE chunked, identity": (b"Transfer-Encoding: chunked, identity\r\n", 501),
    "TE identity": (b"Transfer-Encoding: identity\r\n", 501),
    "TE identity and CL": (b"Transfer-Encoding: identity\r\n" + LENGTH, 501),
    "TE xchunked": (b"Transfer-Encoding: xchunked\r\n", 501),
    "TE with a parameter": (b"Transfer-Encoding: chunked;q=1\r\n", 501),
    "TE quoted": (b'Transfer-Encoding: "chunked"\r\n', 501),
    "TE with a comma": (b"Transfer-Encoding: chunked,\r\n", 501),
    "TE with a comma before": (b"Transfer-Encoding: ,chunked\r\n", 501),
    "TE empty": (b"Transfer-Encoding:\r\n", 501),
    "TE behind a vertical tab": (b"Transfer-Encoding: \x0bchunked\r\n", 400),
    "TE with NUL": (b"Transfer-Encoding: chunked\x00\r\n", 400),
    "TE with a bare CR": (b"Transfer-Encoding: chunked\r\r\n", 400),
    "TE behind a bare CR": (b"X: y\rTransfer-Encoding: chunked\r\n", 400),
    "TE behind a bare LF": (b"X: y\nTransfer-Encoding: chunked\r\n", 400),
    "TE ended by a bare LF": (b"Transfer-Encoding: chunked\n", 400),
    "TE folded": (b"Transfer-Encoding:\r\n chunked\r\n", 400),
    "TE folded with a tab": (b"Transfer-Encoding:\r\n\tchunked\r\n", 400),
    "TE in a fold": (b"X: y\r\n Transfer-Encoding: chunked\r\n", 400),
    "TE behind a blank": (b" Transfer-Encoding: chunked\r\n", 400),
    "NUL in the name of TE": (b"Transfer-\x00Encoding: chunked\r\n", 400),
    "high byte in the name of TE": (b"Transfer\xadEncoding: chunked\r\n", 400),
    "no colon": (b"Transfer-Encoding chunked\r\n", 400),
    "Host twice": (b"Host: evil\r\n", 400),
    "Host with a blank before its colon": (b"Host : evil\r\n", 400),
    "NUL in a value": (b"X: \x00\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"], ids=["1.0", "1.1"])
@pytest.mark.parametrize(("lines", "status"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("step", [1, 1 << 30], ids=["bytewise", "whole"])
async def test_ambiguity_is_refused(lines: bytes, status: int, version: bytes, step: int) -> None:
    stream = b"POST /first %b\r\nHost: a\r\n%b\r\n%b" % (version, lines, CHUNKED)
    with Bench() as bench:
        outcome = await bench.run(_in_pieces(stream, step))
    assert not outcome.upstreams
    assert not outcome.complaints
    assert status_counts(outcome.heard) == [status]
    assert b"\r\nConnection: close\r\n" in outcome.heard


async def test_http_1_0_has_no_chunks() -> None:
    with Bench() as bench:
        outcome = await bench.run([b"POST /first HTTP/1.0\r\nHost: a\r\n%b\r\n" % CODING + CHUNKED])
    assert not outcome.upstreams
    assert status_counts(outcome.heard) == [400]


# What has one meaning: (lines, body, what the upstream sees of the first request's body).
PASSED = {
    "CL": (LENGTH, CHUNKED, CHUNKED),
    "equal lengths": (LENGTH + LENGTH, CHUNKED, CHUNKED),
    "equal lengths in a list": (LENGTH[:-2] + b", 43\r\n", CHUNKED, CHUNKED),
    "length with zeros": (b"Content-Length: 00043\r\n", CHUNKED, CHUNKED),
    "nominated CL": (LENGTH + b"Connection: content-length\r\n", CHUNKED, CHUNKED),
    "other spellings": (LENGTH + b"Transfer_Encoding: chunked\r\n", CHUNKED, CHUNKED),
    "and of CL": (LENGTH + b"Content_Length: 0\r\n", CHUNKED, CHUNKED),
    "like TE, and is not": (LENGTH + b"Transfer-Encodin: chunked\r\n", CHUNKED, CHUNKED),
}
PASSED_CHUNKED = {
    "chunked": (CODING, b"26\r\n%b\r\n0\r\n\r\n" % SMUGGLED, SMUGGLED),
    "in capitals": (CODING.upper(), b"26\r\n%b\r\n0\r\n\r\n" % SMUGGLED, SMUGGLED),
    "behind a tab": (b"Transfer-Encoding:\tchunked\t\r\n", b"1\r\nx\r\n0\r\n\r\n", b"x"),
    "nominated": (CODING + b"Connection: transfer-encoding\r\n", b"1\r\nx\r\n0\r\n\r\n", b"x"),
    "zeros": (CODING, b"0026\r\n%b\r\n000\r\n\r\n" % SMUGGLED, SMUGGLED),
    "extensions": (CODING, b'26;a="0"\r\n%b\r\n0;b\r\n\r\n' % SMUGGLED, SMUGGLED),
    "trailers": (CODING, b"26\r\n%b\r\n0\r\nContent-Length: 9\r\n\r\n" % SMUGGLED, SMUGGLED),
}


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"], ids=["1.0", "1.1"])
@pytest.mark.parametrize(("lines", "body", "seen"), PASSED.values(), ids=PASSED)
@pytest.mark.parametrize("step", [1, 1 << 30], ids=["bytewise", "whole"])
async def test_one_meaning_is_passed_on(
    lines: bytes, body: bytes, seen: bytes, version: bytes, step: int
) -> None:
    await _passes(version, lines, body, seen, step)


@pytest.mark.parametrize(("lines", "body", "seen"), PASSED_CHUNKED.values(), ids=PASSED_CHUNKED)
@pytest.mark.parametrize("step", [1, 1 << 30], ids=["bytewise", "whole"])
async def test_so_are_chunks(lines: bytes, body: bytes, seen: bytes, step: int) -> None:
    await _passes(b"HTTP/1.1", lines, body, seen, step)


async def _passes(version: bytes, lines: bytes, body: bytes, seen: bytes, step: int) -> None:
    kept = b"" if b"Connection" in lines else b"Connection: keep-alive\r\n"
    first = b"POST /first %b\r\nHost: a\r\n%b%b\r\n%b" % (version, kept, lines, body)
    stream = first + b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"
    with Bench() as bench:
        outcome = await bench.run(_in_pieces(stream, step))
    assert not list(judge_requests(stream, outcome))
    found = [each for up in outcome.upstreams for each in up.requests]
    # HTTP/1.0 keeps a connection only where it is asked for
    second = kept or version == b"HTTP/1.1"
    assert [each.origin for each in found] == [b"/first", b"/second"][: 1 + bool(second)]
    assert found[0].body == seen


# Chunks that two parsers could read in two ways; the head is in order, so an upstream may have been
# asked, but it never gets the end of a request.
ILL_CHUNKS = {
    "size with 0x": b"0x1\r\nx\r\n0\r\n\r\n",
    "size with +": b"+1\r\nx\r\n0\r\n\r\n",
    "size with -": b"-1\r\nx\r\n0\r\n\r\n",
    "size with _": b"1_0\r\nx\r\n0\r\n\r\n",
    "size empty": b"\r\nx\r\n0\r\n\r\n",
    "size behind a blank": b" 1\r\nx\r\n0\r\n\r\n",
    "size before a blank": b"1 \r\nx\r\n0\r\n\r\n",
    "size of 17 digits": b"10000000000000001\r\nx\r\n0\r\n\r\n",
    "size ended by LF": b"1\nx\r\n0\r\n\r\n",
    "size ended by CR": b"1\rx\r\n0\r\n\r\n",
    "LF in an extension": b"1;a\nb\r\nx\r\n0\r\n\r\n",
    "CR in an extension": b"1;a\rb\r\nx\r\n0\r\n\r\n",
    "NUL in an extension": b"1;\x00\r\nx\r\n0\r\n\r\n",
    "no CRLF behind data": b"1\r\nx0\r\n\r\n",
    "LF behind data": b"1\r\nx\n0\r\n\r\n",
    "two bytes and no CRLF behind data": b"1\r\nxyz0\r\n\r\n",
    "folded trailer": b"0\r\nX: y\r\n z\r\n\r\n",
    "trailer without a colon": b"0\r\nX\r\n\r\n",
    "LF behind a trailer": b"0\r\nX: y\n\r\n",
    "LF at the end": b"0\r\n\n",
}


@pytest.mark.parametrize("body", ILL_CHUNKS.values(), ids=ILL_CHUNKS)
@pytest.mark.parametrize("step", [1, 1 << 30], ids=["bytewise", "whole"])
async def test_ill_chunks(body: bytes, step: int) -> None:
    stream = b"POST /first HTTP/1.1\r\nHost: a\r\n%b\r\n%b%b" % (CODING, body, SMUGGLED)
    with Bench() as bench:
        outcome = await bench.run(_in_pieces(stream, step))
    assert not list(judge_requests(stream, outcome))
    assert status_counts(outcome.heard) == [400]
    found = [each for up in outcome.upstreams for each in up.requests]
    assert [each.complete for each in found] in ([], [False])
    assert b"smuggled" not in b"".join(piece for up in outcome.upstreams for piece in up.pieces)


def _in_pieces(stream: bytes, step: int) -> list[bytes]:
    return [stream[at : at + step] for at in range(0, len(stream), step)]
