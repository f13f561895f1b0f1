"""Heads: what is accepted, what is refused with which status, and that cuts change nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from balancer.http1 import Http1Config, RequestError
from balancer.http1.heads import FAST, only_blank_lines, parse_head
from balancer.http1.strict import strict_head

if TYPE_CHECKING:
    from balancer.http1.head import Head

LIMITS = Http1Config()
SMALL = Http1Config(max_request_line=24, max_head=64, max_fields=3)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"


def facts(head: Head) -> tuple[object, ...]:
    return (
        head.method, head.target, head.origin, head.http_version, head.headers, head.chunked,
        head.content_length, head.keep_alive, head.expect_continue, head.upgrade, head.size,
    )  # fmt: skip


def verdict(data: bytes, limits: Http1Config = LIMITS) -> tuple[object, ...] | int | None:
    """What a head means; or the status of its refusal; or None while it is incomplete."""
    try:
        head = parse_head(data, limits)
    except RequestError as error:
        return error.status
    return None if head is None else facts(head)


def verdict_in_pieces(data: bytes, limits: Http1Config, size: int = 1) -> object:
    """The first verdict on a stream that comes ``size`` bytes at a time."""
    scanned = 0
    for end in range(size, len(data) + size, size):
        buffer = data[:end]
        try:
            head = parse_head(buffer, limits, scanned)
        except RequestError as error:
            return error.status
        if head is not None:
            return facts(head)
        scanned = len(buffer)
    return None


GOOD = {
    "plain": GET + b"\r\n",
    "lower case": b"GET / HTTP/1.1\r\nhost:a\r\n\r\n",
    "blanks around values": b"GET / HTTP/1.1\r\nHost: \ta \t\r\nX:  y \r\n\r\n",
    "empty value": GET + b"X:\r\n\r\n",
    "tab and obs-text inside": GET + b"X: a\tb \xff\r\n\r\n",
    "query": b"GET /a?b=c?d HTTP/1.1\r\nHost: a\r\n\r\n",
    "port": b"GET / HTTP/1.1\r\nHost: a.example:8000\r\n\r\n",
    "empty port": b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n",
    "IPv6": b"GET / HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n",
    "empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "percent in host": b"GET / HTTP/1.1\r\nHost: a%20b\r\n\r\n",
    "close": GET + b"Connection: Close\r\n\r\n",
    "close in a list": GET + b"Connection: foo, close\r\n\r\n",
    "close in a second line": GET + b"Connection: foo\r\nConnection: close\r\n\r\n",
    "length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    "equal lengths": GET + b"Content-Length: 5, 5\r\nContent-Length: 5\r\n\r\n",
    "chunked": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
    "expect": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n",
    "upgrade": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "1.0": b"GET / HTTP/1.0\r\n\r\n",
    "1.0 with host": b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    "1.0 kept": b"GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n",
    "1.0 ignores expect": b"POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: tea\r\n\r\n",
    "1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "absolute": b"GET http://b:81/c?d HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
    "absolute without path": b"GET http://b?d HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "blank lines before": b"\r\n\r\n" + GET + b"\r\n",
    "odd method": b"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n",
    "names like ours": GET + b"Hosts: b\r\nContent-Lengths: 7\r\nTE: trailers\r\n\r\n",
}  # fmt: skip

BAD = {
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "bare LF in a field": (GET + b"X: y\nZ: 1\r\n\r\n", 400),
    "bare CR": (GET + b"X: y\rZ: 1\r\n\r\n", 400),
    "NUL": (GET + b"X: \x00\r\n\r\n", 400),
    "control character": (GET + b"X: \x01\r\n\r\n", 400),
    "DEL": (GET + b"X: \x7f\r\n\r\n", 400),
    "vertical tab": (GET + b"X: a\x0bb\r\n\r\n", 400),
    "folded": (GET + b"X: y\r\n z\r\n\r\n", 400),
    "folded first": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "blank before colon": (GET + b"X : y\r\n\r\n", 400),
    "no colon": (GET + b"X\r\n\r\n", 400),
    "empty name": (GET + b": y\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (GET + b"Host: a\r\n\r\n", 400),
    "two hosts from 1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "userinfo in host": (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    "path in host": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "comma in host": (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "blank in host": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "bad port": (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    "empty host, absolute": (b"GET http://b/ HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "two blanks": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "leading blank": (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "lower case http": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "long version": (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    "no version": (b"GET / HTTP/\r\nHost: a\r\n\r\n", 400),
    "2.0": (b"PRI * HTTP/2.0\r\n\r\n", 505),
    "0.9 by name": (b"GET / HTTP/0.9\r\n\r\n", 505),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
    "CONNECT of a path": (b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "authority form": (b"GET a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "asterisk": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "fragment": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "other scheme": (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "userinfo in target": (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "obs-text in target": (b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "length and chunked": (GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "chunked from 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "other coding": (GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "identity": (GET + b"Transfer-Encoding: identity\r\n\r\n", 501),
    "chunked twice": (GET + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n", 501),
    "signed length": (GET + b"Content-Length: +5\r\n\r\n", 400),
    "negative length": (GET + b"Content-Length: -5\r\n\r\n", 400),
    "hexadecimal length": (GET + b"Content-Length: 0x5\r\n\r\n", 400),
    "no length": (GET + b"Content-Length:\r\n\r\n", 400),
    "two lengths": (GET + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    "list of lengths": (GET + b"Content-Length: 5, 6\r\n\r\n", 400),
    "length of a planet": (GET + b"Content-Length: 9999999999999999999\r\n\r\n", 413),
    "length beyond": (GET + b"Content-Length: 999999999999999999999\r\n\r\n", 400),
    "unknown expectation": (GET + b"Expect: tea\r\n\r\n", 417),
    "three blank lines before": (b"\r\n\r\n\r\n" + GET + b"\r\n", 400),
    "long request line": (b"GET /" + b"a" * 8200 + b" HTTP/1.1\r\n", 414),
    "endless request line": (b"a" * 8192, 414),
    "large head": (GET + b"X: " + b"y" * 32768 + b"\r\n\r\n", 431),
    "endless head": (GET + b"X: y\r\n" * 6000, 431),
    "many fields": (GET + b"X: y\r\n" * 100 + b"\r\n", 431),
    "LF before the line is long": (b"GET /\n" + b"a" * 9000, 400),
    "LF after the line is long": (b"a" * 9000 + b"\n", 414),
    "a bad field behind many": (GET + b"X: y\r\nTe: y\r\n" * 45 + b"X y\r\n\r\n", 400),
    "no host in 1.2": (b"GET / HTTP/1.2\r\nX: y\r\n\r\n", 400),
    "many fields and no host": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 99 + b"\r\n", 400),
    "many fields and an LF": (GET + b"X: y\n" + b"X: y\r\n" * 100 + b"\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
def test_good_heads_mean_the_same_on_every_way(data: bytes) -> None:
    whole = verdict(data)
    assert isinstance(whole, tuple)
    assert verdict_in_pieces(data, LIMITS) == whole
    assert verdict(data + b"GET /smuggled") == whole
    skipped = len(data) - len(data.lstrip(b"\r\n"))
    assert facts(strict_head(data[skipped:], len(data))) == whole


@pytest.mark.parametrize(("data", "status"), BAD.values(), ids=BAD)
def test_bad_heads(data: bytes, status: int) -> None:
    assert verdict(data) == status
    assert verdict_in_pieces(data, LIMITS) == status
    assert verdict(data + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == status


def test_what_a_head_says() -> None:
    head = parse_head(GOOD["absolute"], LIMITS)
    assert head is not None
    assert (head.target, head.origin) == (b"http://b:81/c?d", b"/c?d")
    assert head.headers == [(b"host", b"b:81"), (b"x", b"y")]
    assert facts(head)[5:] == (False, 0, True, False, False, len(GOOD["absolute"]))


@pytest.mark.parametrize(
    ("name", "kept"),
    [("plain", True), ("close", False), ("close in a list", False), ("1.0", False),
     ("close in a second line", False), ("1.0 with host", False), ("1.0 kept", True)],
)  # fmt: skip
def test_keep_alive(name: str, kept: bool) -> None:
    head = parse_head(GOOD[name], LIMITS)
    assert head is not None
    assert head.keep_alive is kept


@pytest.mark.parametrize(
    "name", ["plain", "lower case", "query", "port", "IPv6", "close", "length", "1.0 kept"]
)
def test_common_heads_are_fast(name: str) -> None:
    assert FAST(GOOD[name])


@pytest.mark.parametrize("name", ["chunked", "expect", "upgrade", "absolute", "close in a list"])
def test_uncommon_heads_are_not(name: str) -> None:
    assert not FAST(GOOD[name])


@pytest.mark.parametrize("length", range(20, 30))
def test_the_line_limit_is_exact(length: int) -> None:
    line = b"GET /" + b"a" * (length - 14) + b" HTTP/1.1"
    assert len(line) == length
    data = line + b"\r\nHost: a\r\n\r\n"
    assert (verdict(data, SMALL) == 414) is (length > 24)
    assert verdict_in_pieces(data, SMALL) == verdict(data, SMALL)


@pytest.mark.parametrize("length", range(60, 70))
def test_the_head_limit_is_exact(length: int) -> None:
    data = GET + b"X: " + b"y" * (length - 32) + b"\r\n\r\n"
    assert len(data) == length
    assert (verdict(data, SMALL) == 431) is (length > 64)
    assert verdict_in_pieces(data, SMALL) == verdict(data, SMALL)


@pytest.mark.parametrize("data", [b"\r", b"\r\n", b"\r\n\r", b"\r\n\r\n"])
def test_blank_lines_alone_are_nothing(data: bytes) -> None:
    assert parse_head(data, LIMITS) is None
    assert only_blank_lines(data)


# Heads built from parts that matter, so that most of them are nearly right.
names = st.sampled_from(
    [b"Host", b"host", b"Content-Length", b"Connection", b"Transfer-Encoding", b"Upgrade",
     b"Expect", b"X", b"Cookie", b"Hos", b"Host ", b"Accept", b"T\xe9", b"_", b"", b" X"]
)  # fmt: skip
values = st.one_of(
    st.sampled_from(
        [b"a", b"a:80", b"[::1]", b"a,b", b"", b"5", b"05", b"+5", b"5, 5", b"5,6", b"chunked",
         b"close", b"Keep-Alive", b"close, x", b"upgrade", b"websocket", b"100-continue", b"1" * 19,
         b" a ", b"\ta", b"a\rb", b"a\nb", b"a\x00", b"a b\tc", b"a:b", b"a@b", b"x\x7f"]
    ),
    st.binary(max_size=6),
)  # fmt: skip
ends = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\n\r\n", b"", b"\r\n "])
fields = st.builds(
    lambda name, colon, value, end: name + colon + value + end,
    names, st.sampled_from([b":", b": ", b":\t", b" :"]), values, ends,
)  # fmt: skip
lines = st.builds(
    lambda method, target, version, end: method + b" " + target + b" " + version + end,
    st.sampled_from([b"GET", b"POST", b"OPTIONS", b"CONNECT", b"g\x01", b""]),
    st.sampled_from([b"/", b"/a?b", b"*", b"http://b/", b"/#", b"a:1", b"/\x7f", b"/ b", b"/\xff"]),
    st.sampled_from([b"HTTP/1.1"] * 4 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1.1 ", b""]),
    ends,
)  # fmt: skip
plausible = st.builds(
    lambda before, line, rest, end: before + line + b"".join(rest) + end,
    st.sampled_from([b""] * 6 + [b"\r\n", b"\n", b"\r\n\r\n\r\n", b" "]),
    lines, st.lists(fields, max_size=6), st.sampled_from([b"\r\n", b"\r\n\r\nx", b"", b"\n"]),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good head with one byte changed, added or removed, or cut off."""
    data = draw(st.sampled_from(list(GOOD.values())))
    at = draw(st.integers(0, len(data) - 1))
    new = draw(
        st.one_of(st.binary(max_size=2), st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b":"]))
    )
    keep = draw(st.sampled_from([data[at + 1 :], data[at:], b""]))
    return data[:at] + new + keep


heads = st.one_of(plausible, mutated(), st.binary(min_size=1, max_size=60))


@settings(max_examples=400, deadline=None)
@given(heads)
@example(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nhoSt: a\r\n\r\n")
def test_the_fast_path_accepts_a_subset_with_the_same_meaning(data: bytes) -> None:
    match = FAST(data)
    if match is not None:
        end = data.index(b"\r\n\r\n") + 4
        assert match.end() == end
        fast = parse_head(data, LIMITS)
        assert fast is not None
        assert facts(fast) == facts(strict_head(data[:end], end))


@settings(max_examples=400, deadline=None)
@given(heads.filter(bool), st.sampled_from([LIMITS, SMALL]), st.integers(1, 7))
@example(b"aaaaaaaaaaaaaaaaaaaaaaaa\r\n", SMALL, 1)
@example(b"aaaaaaaaaaaaaaaaaaaaaaaaa\n", SMALL, 1)
@example(b"aaaaaaaaaaaaaaaaaaaaaaaa\n", SMALL, 2)
def test_cuts_never_change_the_answer(data: bytes, limits: Http1Config, size: int) -> None:
    assert verdict_in_pieces(data, limits, size) == verdict(data, limits)


@settings(max_examples=300, deadline=None)
@given(heads.filter(bool))
def test_garbage_gets_documented_refusals(data: bytes) -> None:
    result = verdict(data)
    if isinstance(result, int):
        assert result in {400, 413, 414, 417, 431, 501, 505}


@settings(max_examples=200, deadline=None)
@given(plausible)
def test_whatever_is_accepted_has_one_framing_and_no_hidden_lines(data: bytes) -> None:
    result = parse_head_or_none(data)
    if result is None:
        return
    assert not (result.chunked and result.content_length)
    for name, value in result.headers:
        assert re.fullmatch(rb"[!-9;-~]+", name)
        assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value)


def parse_head_or_none(data: bytes) -> Head | None:
    try:
        return parse_head(data, LIMITS)
    except RequestError:
        return None
