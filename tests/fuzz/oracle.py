"""What a stream of requests, or a response, means to a strict reader: the fuzz's own parser.

It shares no code with the engine, on purpose, and is written for being read: no regular expression
over a whole head, no state machine.  Where RFC 9112 leaves a reader a choice it takes the strict
one, so a stream has one meaning or ends at the first thing that could have two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import final

__all__ = ["Answer", "Asked", "Ill", "read_answer", "read_requests"]

TCHAR = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
CONTROLS = frozenset([*range(9), *range(10, 32), 127])
DIGITS = frozenset(b"0123456789")
HEXDIGITS = frozenset(b"0123456789abcdefABCDEF")
REG_NAME = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+;=%"
)
Fields = list[tuple[bytes, bytes]]


@final
class Ill(Exception):  # noqa: N818 - a verdict
    """Not HTTP/1 as a strict reader has it."""


@final
@dataclass(slots=True)
class Asked:
    """One request; ``origin`` is path and query, ``host`` what names the server."""

    method: bytes
    origin: bytes
    host: bytes | None
    minor: int
    fields: Fields
    body: bytes = b""
    chunked: bool = False
    length: int = 0
    trailers: Fields = field(default_factory=list)
    complete: bool = False
    end: int = 0
    """Where in the stream it ends, if it is complete."""


@final
@dataclass(slots=True)
class Answer:
    """One final response; ``whole``: nothing of it is missing; ``size``: bytes that it took."""

    status: int
    fields: Fields
    body: bytes
    whole: bool
    size: int
    until_end: bool = False
    interim: list[int] = field(default_factory=list)


def read_requests(stream: bytes) -> list[Asked]:
    """The requests of a stream, up to its end or to the first ill byte.

    The last may be incomplete: its body is what was there of it.
    """
    found: list[Asked] = []
    at = 0
    while True:
        while stream.startswith(b"\r\n", at):
            at += 2
        end = stream.find(b"\r\n\r\n", at)
        if end < 0:
            return found
        try:
            asked = _read_request_head(stream[at:end])
        except Ill:
            return found
        found.append(asked)
        try:
            at = _read_body(stream, end + 4, asked)
        except Ill:
            return found
        if not asked.complete:
            return found
        asked.end = at


def _read_request_head(head: bytes) -> Asked:
    first, *lines = _lines(head)
    words = first.split(b" ")
    if len(words) != 3:
        raise Ill
    method, target, version = words
    minor = _version(version)
    if not method or not TCHAR.issuperset(method):
        raise Ill
    if any(byte < 0x21 or byte > 0x7E for byte in target):
        raise Ill
    fields = [_field(line, blank_before_colon=False) for line in lines]
    hosts = _values(fields, b"host")
    if len(hosts) > 1 or (minor and not hosts):
        raise Ill
    if hosts and hosts[0] and not _is_host(hosts[0]):
        raise Ill
    host = hosts[0] if hosts else None
    authority, origin = _target(method, target)
    if b"%00" in origin.partition(b"?")[0]:
        raise Ill
    if authority is not None:
        host = authority
    length, chunked = _framing(fields, minor)
    return Asked(method, origin, host, minor, fields, length=length or 0, chunked=chunked)


def _lines(head: bytes) -> list[bytes]:
    lines = head.split(b"\r\n")
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise Ill
    return lines


def _version(word: bytes) -> int:
    if len(word) != 8 or not word.startswith(b"HTTP/1.") or word[7] not in DIGITS:
        raise Ill
    return word[7] - 48


@lru_cache(maxsize=4096)
def _field(line: bytes, *, blank_before_colon: bool) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if blank_before_colon:
        name = name.rstrip(b" \t")
    if not colon or not name or not TCHAR.issuperset(name) or not CONTROLS.isdisjoint(value):
        raise Ill
    return name.lower(), value.strip(b" \t")


def _values(fields: Fields, name: bytes) -> list[bytes]:
    return [value for key, value in fields if key == name]


def _is_host(text: bytes) -> bool:
    if text.startswith(b"["):
        inside, bracket, rest = text[1:].partition(b"]")
        if not bracket or not HEXDIGITS.union(b":.").issuperset(inside):
            return False
    else:
        name, colon, port = text.partition(b":")
        if not name or not REG_NAME.issuperset(name):
            return False
        rest = colon + port
    return not rest or (rest[:1] == b":" and DIGITS.issuperset(rest[1:]))


def _target(method: bytes, target: bytes) -> tuple[bytes | None, bytes]:
    if b"#" in target or method == b"CONNECT":
        raise Ill  # a proxy that is no tunnel passes none on
    if target == b"*" and method == b"OPTIONS":
        return None, target
    if target.startswith(b"/"):
        return None, target
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in {b"http", b"https"}:
        raise Ill
    ends = [at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0]
    cut = min(ends, default=len(rest))
    authority, tail = rest[:cut], rest[cut:]
    if not _is_host(authority):
        raise Ill
    if not tail and method == b"OPTIONS":
        return authority, b"*"
    return authority, tail if tail.startswith(b"/") else b"/" + tail


def _framing(fields: Fields, minor: int) -> tuple[int | None, bool]:
    codings = _values(fields, b"transfer-encoding")
    lengths = _values(fields, b"content-length")
    if codings:
        if lengths or not minor or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise Ill
        return None, True
    if not lengths:
        return None, False
    members = {each.strip(b" \t") for value in lengths for each in value.split(b",")}
    if len(members) != 1:
        raise Ill
    digits = members.pop()
    if not digits or not DIGITS.issuperset(digits):
        raise Ill
    return int(digits), False


def _read_body(stream: bytes, at: int, asked: Asked | Answer) -> int:
    assert isinstance(asked, Asked)
    if asked.chunked:
        at, asked.body, asked.trailers, asked.complete = _chunks(stream, at, asked)
        return at
    asked.body = stream[at : at + asked.length]
    asked.complete = len(asked.body) == asked.length
    return at + len(asked.body)


def _chunks(stream: bytes, at: int, keep: Asked | None = None) -> tuple[int, bytes, Fields, bool]:
    """Where the body ends, what is in it, its trailers, and whether its end was there."""
    body = b""
    while True:
        end = stream.find(b"\r\n", at)
        line = stream[at : end if end >= 0 else len(stream)]
        digits, _, extension = line.partition(b";")
        if end < 0:
            return at, body, [], False
        if not digits or len(digits) > 16 or not HEXDIGITS.issuperset(digits):
            raise Ill
        if not CONTROLS.isdisjoint(extension):
            raise Ill
        size = int(digits, 16)
        at = end + 2
        if not size:
            break
        data = stream[at : at + size]
        body += data
        if keep is not None:
            keep.body = body  # what was well-formed may have been passed on before the rest was not
        at += size
        after = stream[at : at + 2]
        if len(data) == size and after != b"\r\n"[: len(after)]:
            raise Ill
        if len(after) < 2:
            return at, body, [], False
        at += 2
    trailers: Fields = []
    while True:
        end = stream.find(b"\r\n", at)
        if end < 0:
            return at, body, [], False
        line = stream[at:end]
        at = end + 2
        if not line:
            return at, body, trailers, True
        if b"\n" in line or b"\r" in line:
            raise Ill
        trailers.append(_field(line, blank_before_colon=False))


def read_answer(stream: bytes, method: bytes) -> Answer:
    """The final response at the beginning of a stream that has ended, behind interim ones.

    Raises:
        Ill: there is none that a strict reader could read.
    """
    at = 0
    interim: list[int] = []
    while True:
        end = stream.find(b"\r\n\r\n", at)
        if end < 0:
            raise Ill
        status, minor, fields = _read_response_head(stream[at:end])
        at = end + 4
        if 100 <= status < 200 and status != 101:
            interim.append(status)
            continue
        return _read_response_body(stream, at, method, (status, minor, fields), interim)


def _read_response_head(head: bytes) -> tuple[int, int, Fields]:
    first, *lines = _lines(head)
    if len(first) < 12 or (len(first) > 12 and first[12:13] != b" "):
        raise Ill
    minor = _version(first[:8])
    digits, reason = first[9:12], first[13:]
    if first[8:9] != b" " or not DIGITS.issuperset(digits) or not CONTROLS.isdisjoint(reason):
        raise Ill
    if not 100 <= int(digits) <= 599:
        raise Ill
    fields = [_field(line, blank_before_colon=True) for line in lines]
    _framing(fields, minor)  # whatever the status: both framings are ambiguous
    if digits == b"101" and not (minor and _values(fields, b"upgrade")):
        raise Ill
    return int(digits), minor, fields


def _read_response_body(
    stream: bytes, at: int, method: bytes, head: tuple[int, int, Fields], interim: list[int]
) -> Answer:
    status, minor, fields = head
    length, chunked = _framing(fields, minor)
    if method == b"HEAD" or status in {101, 204, 304}:
        return Answer(status, fields, b"", True, at, interim=interim)
    if chunked:
        shell = Asked(b"", b"", None, 1, [])
        try:
            at, body, _, whole = _chunks(stream, at, shell)
        except Ill:
            return Answer(status, fields, shell.body, False, len(stream), interim=interim)
        return Answer(status, fields, body, whole, at, interim=interim)
    if length is not None:
        body = stream[at : at + length]
        whole = len(body) == length
        return Answer(status, fields, body, whole, at + len(body), interim=interim)
    return Answer(status, fields, stream[at:], True, len(stream), True, interim)
