"""Responses of upstreams: what is taken, what is refused, and that both ways mean the same."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from balancer.http1 import Http1Config
from balancer.http1.replies import FAST, BadReply, Reply, _parse_strictly, parse_reply

LIMITS = Http1Config()
OK = b"HTTP/1.1 200 OK\r\n"


def parse(data: bytes, limits: Http1Config = LIMITS) -> Reply | None:
    return parse_reply(data, limits)


def verdict(data: bytes, limits: Http1Config = LIMITS, step: int = 0) -> object:
    """A reply, the reason of its refusal, or None while it is incomplete."""
    scanned = 0
    for end in range(step, len(data) + step, step) if step else [len(data)]:
        try:
            found = parse_reply(data[:end], limits, scanned)
        except BadReply as error:
            return error.reason
        if found is not None:
            return found
        scanned = min(end, len(data))
    return None


GOOD = {
    "plain": (OK + b"X: y\r\n\r\n", b"X: y\r\n"),
    "no reason": (b"HTTP/1.1 200 \r\n\r\n", b""),
    "no blank before no reason": (b"HTTP/1.1 200\r\n\r\n", b""),
    "the connection's own fields": (
        OK + b"Connection: keep-alive\r\nKeep-Alive: 5\r\nContent-Length: 3\r\nA: b\r\n\r\n",
        b"A: b\r\n",
    ),
    "nominated": (OK + b"Connection: X, close\r\nX: y\r\nA: b\r\n\r\n", b"A: b\r\n"),
    "nominated in vain": (
        OK + b"Connection: Set-Cookie\r\nSet-Cookie: a\r\n\r\n",
        b"Set-Cookie: a\r\n",
    ),
    "proxy fields": (OK + b"Proxy-Authenticate: Basic\r\nTrailer: X\r\nTE: a\r\n\r\n", b""),
    "cookies stay apart": (
        OK + b"Set-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
        b"Set-Cookie: a\r\nSet-Cookie: b\r\n",
    ),
    "a blank before the colon": (OK + b"X : y\r\n\r\n", b"X: y\r\n"),
    "equal lengths": (OK + b"Content-Length: 5, 5\r\nContent-Length: 5\r\n\r\n", b""),
    "obs-text": (OK + b"X: \xff\r\n\r\n", b"X: \xff\r\n"),
    "426 says to what": (
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        b"Upgrade: h2c\r\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("name", GOOD)
def test_what_is_sent_on(name: str, step: int) -> None:
    data, lines = GOOD[name]
    found = verdict(data, step=step)
    assert isinstance(found, Reply), found
    assert found.head.lines == lines
    assert found.size == len(data)


BAD = {
    "garbage": b"SSH-2.0-OpenSSH\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of 600": b"HTTP/1.1 600 No\r\n\r\n",
    "bare LF": OK + b"X: y\nZ: w\r\n\r\n",
    "bare CR": OK + b"X: y\rz\r\n\r\n",
    "folded": OK + b"X: y\r\n z\r\n\r\n",
    "NUL": OK + b"X: \0\r\n\r\n",
    "a name with a blank": OK + b"X y: z\r\n\r\n",
    "an empty name": OK + b": z\r\n\r\n",
    "both framings": OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "both framings, turned": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
    "two codings": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "unequal lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a signed length": OK + b"Content-Length: +1\r\n\r\n",
    "a long length": OK + b"Content-Length: 1234567890123456789\r\n\r\n",
}


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name: str, step: int) -> None:
    assert isinstance(verdict(BAD[name], step=step), str)


@pytest.mark.parametrize("step", [0, 1, 7])
def test_limits(step: int) -> None:
    limits = Http1Config(max_head=64, max_fields=2)
    assert not isinstance(verdict(OK + b"A: b\r\nC: d\r\n\r\n", limits, step), str)
    assert verdict(OK + b"A: b\r\nC: d\r\nE: f\r\n\r\n", limits, step) == (
        "the head has more fields than allowed"
    )
    assert verdict(OK + b"A: " + b"b" * 64, limits, step) == "the head is larger than allowed"


@pytest.mark.parametrize(
    ("head", "persist"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: a, close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", True),
    ],
)
def test_whether_the_connection_stays(head: bytes, persist: bool) -> None:
    found = parse(head)
    assert found is not None
    assert found.persist is persist


def test_framing() -> None:
    found = parse(OK + b"Transfer-Encoding: Chunked\r\nDate: Tue, 24 Nov 2026 06:00:00 GMT\r\n\r\n")
    assert found is not None
    assert (found.chunked, found.head.length, found.head.dated) == (True, None, True)
    assert found.has_body("GET")
    assert not found.has_body("HEAD")
    found = parse(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
    assert found is not None
    assert (found.head.length, found.has_body("GET")) == (5, False)


def test_interim_responses() -> None:
    found = parse(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X\r\nX: y\r\n\r\n" + OK)
    assert found is not None
    assert found.interim
    assert found.fields == ((b"Link", b"</a>"),)
    switch = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    found = parse(switch)
    assert found is not None
    assert not found.interim
    assert found.fields == ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))


@pytest.mark.parametrize(
    "switch",
    [
        b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.0 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    ],
)
def test_a_switch_to_nobody_knows_what(switch: bytes) -> None:
    with pytest.raises(BadReply, match="101"):
        parse(switch)


FIELDS = st.sampled_from([
    b"Server: nginx", b"Date: Tue, 24 Nov 2026 06:00:00 GMT", b"Date:", b"Content-Type: text/html",
    b"Content-Length: 5", b"content-length:5", b"Content-Length: x", b"Connection: close",
    b"Connection: Keep-Alive", b"Connection: Server", b"Keep-Alive: timeout=5", b"Upgrade: h2c",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"ETag: a", b"X-\xff: a", b"TE: a",
    b" folded", b"X : y", b"Set-Cookie: a=b", b"Trailer: X", b"Connectio: n", b"Connections: n",
    b"Proxy-Authenticate: a", b"Dat: a", b"Proxy-Authentication-Info: a",
    b"Dates: a", b"T: a", b"", b"X: \x01",
])  # fmt: skip
STATUS_LINES = st.sampled_from([
    b"HTTP/1.1 200 OK", b"HTTP/1.0 404 Not Found", b"HTTP/1.1 204 ", b"HTTP/1.1 500",
    b"HTTP/1.1 101 S", b"HTTP/1.1 99 S", b"HTTP/1.2 200 OK", b"HTTP/2 200", b"http/1.1 200 OK",
])  # fmt: skip


@given(STATUS_LINES, st.lists(FIELDS, max_size=6))
@example(b"HTTP/1.1 200 OK", [b"Content-Length: 5", b"Date:"])
def test_the_fast_way_is_a_subset_of_the_strict_one(line: bytes, fields: list[bytes]) -> None:
    head = b"\r\n".join([line, *fields]) + b"\r\n\r\n"
    end = head.index(b"\r\n\r\n") + 4
    head = head[:end]
    match = FAST(head)
    if match is None:
        return
    try:
        found = parse(head)
    except BadReply as error:  # what the expression can't see
        assert "HTTP/1.0" in error.reason  # noqa: PT017
        with pytest.raises(BadReply):
            _parse_strictly(head)
        return
    strict = _parse_strictly(head)
    assert found is not None
    assert found._replace(head=strict.head) == strict
    assert found.head._replace(lines=b"") == strict.head._replace(lines=b"")
    assert normal(found.head.lines) == normal(strict.head.lines)


def normal(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Fields without the blanks that mean nothing."""
    split = [line.partition(b":") for line in lines.split(b"\r\n") if line]
    return [(name, value.strip(b" \t")) for name, _, value in split]


@given(st.binary(max_size=80), st.integers(1, 9))
def test_garbage_is_refused_or_waited_for_however_it_comes(data: bytes, step: int) -> None:
    whole = verdict(b"HTTP/1.1 2" + data)
    pieces = verdict(b"HTTP/1.1 2" + data, step=step)
    if whole is not None and not isinstance(whole, str):
        assert pieces == whole
    elif isinstance(whole, str):
        assert isinstance(pieces, str)
