"""Request heads: bytes in, a ``Head`` or a ``RequestError`` out.  Pure.

Two ways lead to a ``Head``.  One compiled regular expression accepts the common head in about two
microseconds.  Whatever it does not match goes, byte for byte, to the strict layer and then to h11
(``strict``), which take about a hundred.  The regular expression accepts a subset of what those two
accept, with the same meaning; the tests prove it.

How the bytes were cut never changes the answer.  Limits and bare LF are judged by the *shortest
prefix* of the stream that breaks a rule; everything else is judged when the head is complete.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from balancer.http1.errors import RequestError
from balancer.http1.grammar import BARE_LF, FIRST_BYTE, TOKEN, VALUE
from balancer.http1.head import Head
from balancer.http1.strict import bare_lf, not_http, strict_head

if TYPE_CHECKING:
    from balancer.http1.config import Http1Config

__all__ = ["only_blank_lines", "parse_head"]

# Names that decide framing or fate: a line with one of them must match its own alternative below.
DECISIVE = rb"(?i:host|connection|content-length|transfer-encoding|upgrade|expect):"

# (?(4)(?!)) fails when group 4 has matched before: each of the three names at most once; Host at
# least once.  No field matches an empty line, so a match ends with the first one.  No two of the
# alternatives match the same field, and possessive quantifiers leave no choice within one: else a
# head that does not match would be tried in exponentially many ways.  The groups stay outside of
# them: a possessive loop over a group crashes Python 3.11.0 to 3.11.2.
FAST = re.compile(
    rb"(?!CONNECT )(" + TOKEN + rb"++) (/[\x21\x22\x24-\x7e]*+) HTTP/1\.([01])\r\n"
    rb"(?:[!#$%&'*+\-.^_`|~0-9ABDFGI-SV-Zabdfgi-sv-z]" + TOKEN + rb"*+:" + VALUE + rb"*+\r\n"
    rb"|(?(4)(?!))(?i:host):[ \t]*+("
    rb"(?:[A-Za-z0-9\-._~]++|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
    rb")[ \t]*+\r\n"
    rb"|(?=[CHTUEchtue])(?!" + DECISIVE + rb")" + TOKEN + rb"++:" + VALUE + rb"*+\r\n"
    rb"|(?(5)(?!))(?i:connection):[ \t]*+((?i:keep-alive|close))[ \t]*+\r\n"
    rb"|(?(6)(?!))(?i:content-length):[ \t]*+([0-9]{1,18})[ \t]*+\r\n"
    rb")*(?(4)|(?!))\r\n"
).match  # fmt: skip
BLANK_LINE = b"\r\n\r\n"
LEADING_BLANK_LINES = 2
"""RFC 9112 2.2 asks for at least one: old clients ended a body with an extra CRLF."""


def parse_head(buffer: bytes, limits: Http1Config, scanned: int = 0) -> Head | None:
    """The head at the beginning of ``buffer``, or None when it is not complete yet.

    Args:
        buffer: what came from the client and was not used yet; not empty.
        limits: ``max_request_line``, ``max_head`` and ``max_fields`` are looked at.
        scanned: the length of the buffer at the last call that returned None for it.

    Raises:
        RequestError: with the status of the answer (400, 414, 417, 431, 501, 505).
    """
    match = None if scanned else FAST(buffer)
    if match is None:
        return _parse_carefully(buffer, limits, scanned)
    end = match.end()
    if end > limits.harmless and not _within(limits, buffer, 0, end):
        return _parse_carefully(buffer, limits, scanned)
    return _accept(match, end)


def _accept(match: re.Match[bytes], end: int) -> Head:
    method, target, minor, _, connection, length = match.groups()
    if minor == b"1":
        keep_alive = connection is None or len(connection) != 5  # "close", in any case
    else:
        keep_alive = connection is not None and len(connection) == 10  # "keep-alive"
    return Head(
        method.decode("ascii"),
        target,
        "1.1" if minor == b"1" else "1.0",
        0 if length is None else int(length),
        keep_alive,
        end,
        match,
    )


def _within(limits: Http1Config, buffer: bytes, start: int, end: int) -> bool:
    return (
        end - start <= limits.max_head
        and buffer.find(b"\r\n", start) - start <= limits.max_request_line
        and buffer.count(b"\r\n", start, end) - 2 <= limits.max_fields
    )


def _parse_carefully(buffer: bytes, limits: Http1Config, scanned: int) -> Head | None:
    """A head that is not common, or came in pieces, or breaks a rule."""
    start = _skip_blank_lines(buffer)
    end = buffer.find(BLANK_LINE, max(start, scanned - 3)) + 4
    if end < 4 or not _within(limits, buffer, start, end):
        return _wait_or_refuse(buffer, limits, start, end, scanned)
    match = FAST(buffer, start)
    if match is not None:
        return _accept(match, end)
    return strict_head(buffer[start:end], end)


def only_blank_lines(buffer: bytes) -> bool:
    """Whether no head has begun: CRLFs in front of a request line are nothing."""
    return buffer in (b"", b"\r", b"\r\n", b"\r\n\r", b"\r\n\r\n")


def _skip_blank_lines(buffer: bytes) -> int:
    start = 0
    while start < 2 * LEADING_BLANK_LINES and buffer.startswith(b"\r\n", start):
        start += 2
    return start


def _wait_or_refuse(
    buffer: bytes, limits: Http1Config, start: int, end: int, scanned: int
) -> Head | None:
    """Judge a head that is incomplete or too large by its shortest prefix that breaks a rule."""
    rest = len(buffer) - start
    if not rest or (buffer[start:] == b"\r" and start < 2 * LEADING_BLANK_LINES):
        return None
    if not FIRST_BYTE(buffer, start):
        raise not_http()
    until = end if end >= 4 else len(buffer)
    line_limit = limits.max_request_line + 2
    broken: list[tuple[int, RequestError]] = []
    lone = BARE_LF(buffer, max(start, scanned - 1), until)
    if lone is not None:
        broken.append((lone.end() - start, bare_lf()))
    if rest >= line_limit and buffer.find(b"\r\n", start, start + line_limit) < 0:
        broken.append(
            (line_limit, RequestError(414, "the request line is longer than this server allows"))
        )
    if max(end - start, 0 if end >= 4 else rest) > limits.max_head:
        broken.append(
            (limits.max_head + 1, RequestError(431, "the head is larger than this server allows"))
        )
    if broken:
        raise min(broken, key=lambda each: each[0])[1]  # of equals the first: bare LF, line, head
    if end >= 4:
        raise RequestError(431, "the head has more fields than this server allows")
    return None
