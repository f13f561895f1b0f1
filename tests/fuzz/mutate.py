"""What is done to valid streams: to their tokens, to their bytes, and to where they are cut."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tests.fuzz.grammar import METHODS as ALL_METHODS

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.fuzz.grammar import Tokens

__all__ = ["cut", "spoil", "spoil_reply"]

# Field lines that are wrong by themselves, or beside another.
FRAMING = (
    b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 41", b"Content-Length: +5",
    b"Content-Length: -1", b"Content-Length: 5, 5", b"Content-Length: 5, 6", b"Content-Length: 05",
    b"Content-Length: 0x5", b"Content-Length: 5 ", b"Content-Length:5", b"Content-Length: 5_0",
    b"Content-Length: 99999999999999999999", b"Content-Length: 9223372036854775808",
    b"Content-Length: 1e1", b"Content-Length:", b"Content-Length: \xb2", b"Content-Length : 5",
    b"Content-Length: 5\r", b"Content-Length\t: 5", b"Content-Length: 5,", b"Content-Length: ,5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding:",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:\tchunked", b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding: \x00chunked",
    b"Transfer-Encoding: chunked\r\n , identity", b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: 'chunked'", b"Transfer-Encoding: \"chunked\"",
    b"X: y\nTransfer-Encoding: chunked",
    b"\x00Transfer-Encoding: chunked", b" Transfer-Encoding: chunked",
    b"Transfer\xadEncoding: chunked",
    b"Transfer-Encoding: chunked,", b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: chunked\x0b",
    b"TRANSFER-ENCODING: CHUNKED", b"Transfer-Encoding: chun\r\n ked",
    b"Foo: bar\r\n\rTransfer-Encoding: chunked",
    b"Transfer-encoding: chunked\r", b"tRANSFER-ENCODING: \xc3\xa7hunked",
    b"Transfer-Encoding: deflate",
    b"Transfer-Encoding: chunKed", b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 1\x00",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"Content-Length: 5\r\nTransfer-Encoding: x",
)  # fmt: skip
OTHERS = (
    b"Host: evil", b"Host:", b"Host: a b", b"Host: a,b", b"Host: u@h", b"Host: a/b", b"Host : x",
    b"Host: a\r\n b", b"Host: [::1", b"Host: a:b", b"Host: \xff", b": empty", b"noColon", b"X y: z",
    b"X-Fold: a\r\n b", b"X-Fold: a\r\n\tb", b"X-Ctl: \x01", b"X-Del: \x7f", b"X-CR: a\rb", b"",
    b"X-LF: a\nb", b"X-Nul: \x00", b"Connection: close, host", b"Connection: \x00",
    b"Connection: content-length", b"Connection: transfer-encoding", b"Expect: 200-ok",
    b"Expect: 100-continue, x", b"Upgrade: \"", b"Via: 1.1 balancer", b"Via: 1.0 a, 1.1 balancer",
    b"TE: chunked, trailers;q=0", b"X-Huge: " + b"h" * 9000, b"X: \r", b"(x): y", b"X\"Y: z",
    b"X-Forwarded-For: 1\r\n 2", b"Forwarded: for=\"\\\"", b"\tX: y", b"Trailer: content-length",
)  # fmt: skip
VERSIONS = (
    b"HTTP/1.0", b"HTTP/1.1", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.10", b"http/1.1", b"",
    b"HTTP/1,1", b"HTTP/11", b"HTTP/1.", b"HTTP/01.1", b"HTTP/1.1 ", b" HTTP/1.1", b"HTTP/1.1\t",
)  # fmt: skip
TARGETS = (
    b"*", b"x", b"http://", b"http://a b/", b"http://u@h/", b"http:///x", b"https://h:1/x", b"/a#b",
    b"//", b"/\x00", b"/\xff", b"/a b", b"ftp://h/", b"http://h?x#y", b"http:/h", b"/a\tb", b"",
    b"HTTP://H/", b"http://h:x/", b"?x", b"http://[::1]:1?", b"/\x7f", b"/\x0b", b"http://a,b/",
    b"/" + b"l" * 9000,
)  # fmt: skip
METHODS = (
    b"CONNECT", b"TRACE", b"PRI", b"", b"G\x00T", b"GET\t", b" GET", b"(GET)", b"G\xc9T", b"GET,",
    b"HEAD", b"post", b"\r\nGET", b"\nGET", b"\x16\x03\x01", b"HTTP/1.1", b"M" * 300,
)  # fmt: skip
SIZES = (
    b"", b"0", b"00", b"0x5", b"-1", b"+5", b"5 ", b" 5", b"5\t", b"5;\n", b"5;a\rb", b"g", b"5;",
    b"5\r", b"5 ;a",
    b"FFFFFFFFFFFFFFFF", b"10000000000000005", b"7fffffffffffffff", b"000000000000005", b"5,5",
    b"5.0",
    b"0000000000000005", b"5;a=\"\x00\"", b"fffffffe", b"5\x0b", b"5;" + b"e" * 1100, b"0;\x0b",
    b"_5", b"5_0",
)  # fmt: skip
ENDS = (
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n\r",
    b"",
    b"\r\n\r\n",
    b" \r\n",
    b"\t\r\n",
    b"\x00\r\n",
    b"\x0b",
    b"\x85",
)
BYTES = (
    b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b":", b";", b",", b"\x0b", b"\x0c", b"\x7f",
    b"\x80",
    b"\xff", b"\x1f", b"0", b"1", b"-", b"_", b"\"", b"\\", b"\r\n\r\n", b"\r\n ", b"#", b"%00",
    b"/",
    b"\xc4\x8d\xc4\x8a", b"a", b"\x85",
)  # fmt: skip
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"


def spoil(random: Random, tokens: Tokens) -> bytes:
    """A stream with none to four faults; one in ten has none."""
    dice = random.random()
    if dice >= 0.1:
        for _ in range(1 if dice < 0.6 else random.randint(2, 3)):
            random.choice(REQUEST_FAULTS)(random, tokens)
    stream = b"".join(tokens)
    if dice >= 0.75:
        for _ in range(random.randint(1, 2)):
            stream = _spoil_bytes(random, stream)
    return stream


def spoil_reply(random: Random, tokens: Tokens) -> bytes:
    """As ``spoil``, for an upstream's answer."""
    dice = random.random()
    if dice >= 0.15:
        for _ in range(1 if dice < 0.65 else random.randint(2, 3)):
            random.choice(REPLY_FAULTS)(random, tokens)
    stream = b"".join(tokens)
    if dice >= 0.75:
        stream = _spoil_bytes(random, stream)
    return stream


def cut(random: Random, stream: bytes) -> list[bytes]:
    """What single reads get of a stream: most come whole."""
    dice = random.random()
    if dice < 0.6 or len(stream) < 2:
        return [stream]
    if dice > 0.995 and len(stream) < 600:
        return [stream[at : at + 1] for at in range(len(stream))]
    places = sorted(random.randrange(1, len(stream)) for _ in range(random.randint(1, 4)))
    edges = [0, *places, len(stream)]
    return [stream[a:b] for a, b in pairwise(edges) if a < b]


def _field_places(tokens: Tokens) -> list[int]:
    return [at for at, token in enumerate(tokens) if b": " in token[:40] and b"\r" not in token]


def _add(lines: tuple[bytes, ...]) -> Callable[[Random, Tokens], None]:
    def add(random: Random, tokens: Tokens) -> None:
        places = _field_places(tokens)
        if places:
            at = random.choice(places)
            tokens[at:at] = (random.choice(lines), b"\r\n")

    return add


def _replace(lines: tuple[bytes, ...]) -> Callable[[Random, Tokens], None]:
    def replace(random: Random, tokens: Tokens) -> None:
        places = _field_places(tokens)
        if places:
            tokens[random.choice(places)] = random.choice(lines)

    return replace


def _double(random: Random, tokens: Tokens) -> None:
    places = _field_places(tokens)
    if places:
        at = random.choice(places)
        tokens[at:at] = (tokens[at], b"\r\n")


def _many(random: Random, tokens: Tokens) -> None:
    places = _field_places(tokens)
    if places:
        at = random.choice(places)
        tokens[at:at] = [b"X: y\r\n" * random.choice((95, 101, 120, 120, 120, 120, 120, 6000))]


def _drop(random: Random, tokens: Tokens) -> None:
    del tokens[random.randrange(len(tokens))]
    if not tokens:
        tokens.append(b"")


def _swap(random: Random, tokens: Tokens) -> None:
    a, b = random.randrange(len(tokens)), random.randrange(len(tokens))
    tokens[a], tokens[b] = tokens[b], tokens[a]


def _other_end(random: Random, tokens: Tokens) -> None:
    places = [at for at, token in enumerate(tokens) if token == b"\r\n"]
    if places:
        tokens[random.choice(places)] = random.choice(ENDS)


def _other_size(random: Random, tokens: Tokens) -> None:
    places = [at for at, token in enumerate(tokens) if token[:4].isalnum() and len(token) < 12]
    places = [at for at in places if at and tokens[at - 1] == b"\r\n"]
    if places:
        tokens[random.choice(places)] = random.choice(SIZES)


def _other(
    words: tuple[bytes, ...], belongs: Callable[[bytes], bool]
) -> Callable[[Random, Tokens], None]:
    def other(random: Random, tokens: Tokens) -> None:
        places = [at for at, token in enumerate(tokens) if belongs(token)]
        if places:
            tokens[random.choice(places)] = random.choice(words)

    return other


def _smuggle(random: Random, tokens: Tokens) -> None:
    tokens.insert(random.randrange(len(tokens) + 1), SMUGGLED)


def _truncate(random: Random, tokens: Tokens) -> None:
    del tokens[random.randrange(len(tokens)) + 1 :]
    tokens[-1] = tokens[-1][: random.randint(0, len(tokens[-1]))]


def _one_byte(random: Random, tokens: Tokens) -> None:
    at = random.randrange(len(tokens))
    tokens[at] = _spoil_bytes(random, tokens[at])


def _extra(random: Random, tokens: Tokens) -> None:
    tokens.append(
        random.choice((b"\r\n", b"x", SMUGGLED, b"HTTP/1.1 200 OK\r\n\r\n", b"0\r\n\r\n"))
    )


def _spoil_bytes(random: Random, stream: bytes) -> bytes:
    at = random.randrange(len(stream) + 1)
    dice = random.random()
    if dice < 0.4:
        return stream[:at] + random.choice(BYTES) + stream[at:]
    if dice < 0.6:
        return stream[:at] + stream[at + 1 :]
    if dice < 0.85:
        return stream[:at] + random.choice(BYTES) + stream[at + 1 :]
    if dice < 0.93:
        return stream[:at] + random.randbytes(1) + stream[at + 1 :]
    end = random.randrange(at, len(stream) + 1)
    return stream[:end] + stream[at:]


def _is_version(token: bytes) -> bool:
    return token.startswith(b"HTTP/1.") and len(token) == 8


def _is_method(token: bytes) -> bool:
    return token in KNOWN_METHODS


def _is_target(token: bytes) -> bool:
    return token.startswith((b"/", b"http:")) or token == b"*"


def _is_status(token: bytes) -> bool:
    return len(token) == 3 and token.isdigit()


STATUSES = (
    b"200", b"204", b"304", b"101", b"100", b"103", b"199", b"999", b"600", b"099", b"20", b"2000",
    b"2x0", b"-20", b"", b"205", b"102", b"500", b"+20", b"426",
)  # fmt: skip
KNOWN_METHODS = frozenset(ALL_METHODS)
COMMON = (
    _drop, _swap, _other_end, _double, _truncate, _one_byte, _add(FRAMING), _add(FRAMING),
    _add(OTHERS), _replace(FRAMING), _replace(OTHERS), _other_size, _other_size, _other_end,
)  # fmt: skip
REQUEST_FAULTS = (
    *COMMON * 2, _many, _smuggle, _smuggle, _other(VERSIONS, _is_version),
    _other(VERSIONS, _is_version), _other(TARGETS, _is_target), _other(TARGETS, _is_target),
    _other(METHODS, _is_method), _other(METHODS, _is_method),
)  # fmt: skip
REPLY_FAULTS = (
    *COMMON * 2, _many, _extra, _extra, _extra, _extra, _other(VERSIONS, _is_version),
    _other(VERSIONS, _is_version), _other(STATUSES, _is_status), _other(STATUSES, _is_status),
)  # fmt: skip
