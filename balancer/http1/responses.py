"""Response heads: status, fields and framing into bytes.  Pure but for a cache.

The framing is ours alone (RFC 9112 6): an app says how long its body is, or doesn't; what goes on
the wire follows from that, the method, the status and the client's version.  Our own fields are
written with capitals because clients exist (``ab -k``) that look for "Content-Length:" literally.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from balancer.http1.errors import MisuseError

if TYPE_CHECKING:
    from balancer.http1.errors import RequestError

__all__ = [
    "BODILESS",
    "Fields",
    "ResponseHead",
    "length_line",
    "plain_answer",
    "read_fields",
    "render_fields",
    "render_trailers",
    "status_line",
]

Fields = Iterable[tuple[bytes, bytes]]
"""Header fields in order; names in any case."""

NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch
LENGTH = re.compile(rb"[0-9]{1,18}").fullmatch

# fields whose meaning the engine must know, and what it calls them
PLAIN: Final = 0
CONTENT_LENGTH: Final = 1
CONNECTION: Final = 2
TRANSFER_ENCODING: Final = 3
DATE: Final = 4
SPECIAL = {
    b"content-length": CONTENT_LENGTH,
    b"connection": CONNECTION,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"date": DATE,
}
# RFC 9110 6.5.1: what a trailer must not say, because it would change what was already done
NOT_IN_TRAILERS = {
    b"authorization", b"connection", b"content-encoding", b"content-length", b"content-range",
    b"content-type", b"date", b"host", b"set-cookie", b"trailer", b"transfer-encoding",
}  # fmt: skip
CACHED_VALUE = 128
CACHED_FIELDS = 4

STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}


def status_line(status: int) -> bytes:
    """The first line; a status without a known phrase has an empty one."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


BODILESS = frozenset({204, 304})
"""The statuses without a body, whatever the method (RFC 9112 6.3)."""


def _field(name: bytes, value: bytes) -> tuple[int, bytes]:
    given: tuple[object, object] = (name, value)
    for each in given:
        if isinstance(each, str):  # else the pattern's TypeError, which names no header
            raise MisuseError(f"header {name!r}: {each!r} is a str; names and values are bytes")
    if not NAME(name):
        raise MisuseError(f"{name!r} is no header name")
    if not VALUE(value):
        raise MisuseError(f"the value of header {name.decode()} has a control character: {value!r}")
    return SPECIAL.get(name.lower(), PLAIN), b"%s: %s\r\n" % (name, value.strip(b" \t"))


_cached_field = lru_cache(maxsize=1024)(_field)


def plain_answer(
    error: RequestError, prefix: bytes, request_id: str, method: str
) -> tuple[bytes, bytes]:
    """Head and body of an answer of ours, the last on its connection.

    One with an id names the request, so that what the log says about it can be found.

    Args:
        error: Status and reason.
        prefix: Status line and Date.
        request_id: "": it isn't named.
        method: Of the request; HEAD gets no body.
    """
    line = status_line(error.status)
    name = b" (request %b)" % request_id.encode() if request_id else b""
    text = b"%b: %b%b\n" % (line[9:-2], error.reason.encode(), name)
    named = b"X-Request-ID: %b\r\n" % request_id.encode() if request_id else b""
    framing = b"Content-Length: %d\r\nConnection: close\r\n" % len(text)
    head = b"%b%bContent-Type: text/plain\r\n%b\r\n" % (prefix, named, framing)
    return head, b"" if method == "HEAD" else text


def render_fields(fields: Fields) -> bytes:
    """Fields of a 1xx response, checked: nothing of them is ours."""
    return b"".join([_field(name, value)[1] for name, value in fields])


def render_trailers(fields: Fields) -> bytes:
    """The end of a chunked body.

    Raises:
        MisuseError: a name or value is malformed, or may not be in a trailer.
    """
    fields = list(fields)
    for name, _ in fields:
        if name.lower() in NOT_IN_TRAILERS:
            raise MisuseError(f"{name!r} may not be a trailer")
    return b"0\r\n" + render_fields(fields) + b"\r\n"


class ResponseHead(NamedTuple):
    """What an app's fields say, read once: the lines to send and what decides the framing."""

    lines: bytes
    length: int | None
    close: bool
    dated: bool

    def with_length(self, length: int) -> ResponseHead:
        """The same, for a body of this size."""
        return self._replace(length=length)


@lru_cache(maxsize=1024)
def length_line(length: int) -> bytes:
    """The Content-Length field."""
    return b"Content-Length: %d\r\n" % length


def _read(fields: Fields) -> ResponseHead:
    lines: list[bytes] = []
    length: int | None = None
    close = dated = False
    for name, value in fields:
        kind, line = (_cached_field if len(value) <= CACHED_VALUE else _field)(name, value)
        if kind == CONTENT_LENGTH:
            length = _length(value, length)
        elif kind == CONNECTION:
            close = close or b"close" in [each.strip() for each in value.lower().split(b",")]
        elif kind != TRANSFER_ENCODING:
            dated = dated or kind == DATE
            lines.append(line)
    return ResponseHead(b"".join(lines), length, close, dated)


def _length(value: bytes, before: int | None) -> int:
    length = int(value) if LENGTH(value) else -1
    if length < 0 or before not in (None, length):
        raise MisuseError(f"Content-Length {value!r} is no number or contradicts another")
    return length


_cached_read = lru_cache(maxsize=1024)(_read)


def read_fields(fields: Fields) -> ResponseHead:
    """Check and render an app's fields.

    Transfer-Encoding is dropped, for framing is ours; of Connection only ``close`` is heard.  A few
    fields are remembered together: an app that says the same again pays for them once.

    Raises:
        MisuseError: a name or value is malformed; Content-Length is no number or contradicts one.
    """
    if (type(fields) is tuple or type(fields) is list) and len(fields) <= CACHED_FIELDS:
        try:
            return _cached_read(tuple(fields))
        except TypeError:  # lists of lists can't be remembered
            pass
    return _read(fields)
