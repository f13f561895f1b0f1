"""Response heads of upstream servers: bytes in, a ``Reply`` or a ``BadReply`` out.  Pure.

As with requests (``heads``), one strict regular expression takes what is common and everything else
goes to a strict layer and then to h11, in the client's role.  A proxy stands between two parsers
that may disagree, so whatever two parsers *could* read in two ways is refused (502): Content-Length
beside Transfer-Encoding, codings other than one ``chunked``, folded lines, bare LF, controls.

What is returned is ready to be sent on: the end-to-end fields as lines, without those that belong
to the connection they came by (RFC 9110 7.6.1) and without framing, which is made anew.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, NoReturn, final

import h11

from balancer.http1.grammar import BARE_LF, TOKEN, VALUE
from balancer.http1.responses import BODILESS, ResponseHead

if TYPE_CHECKING:
    from balancer.http1.config import Http1Config

__all__ = ["REMEMBERED", "BadReply", "Reply", "parse_reply"]

# Names that decide framing or fate, and those that belong to the connection.
DECISIVE = (
    rb"(?i:connection|content-length|transfer-encoding|keep-alive|proxy-connection"
    rb"|proxy-authenticate|proxy-authentication-info|trailer|te|upgrade|date):"
)
# As in ``heads``: no two alternatives match the same field, possessive where there is no choice, no
# group inside of a possessive loop, and each name that decides at most once.  Of the connection's
# own fields Keep-Alive, which Node sends, is the one that is common enough to have a place here.
FAST = re.compile(
    rb"HTTP/1\.([01]) ([2-5][0-9][0-9]) [\t\x20-\x7e\x80-\xff]*+(\r\n"
    rb"(?:[!#$%&'*+\-.^_`|~0-9ABE-JL-OQRSV-Zabe-jl-oqrsv-z]" + TOKEN + rb"*+:" + VALUE + rb"*+\r\n"
    rb"|(?=[CDKPTUcdkptu])(?!" + DECISIVE + rb")" + TOKEN + rb"++:" + VALUE + rb"*+\r\n"
    rb"|(?(4)(?!))(?i:connection):[ \t]*+((?i:keep-alive|close))[ \t]*+\r\n"
    rb"|(?(5)(?!))(?(6)(?!))(?i:content-length):[ \t]*+([0-9]{1,18})[ \t]*+\r\n"
    rb"|(?(6)(?!))(?(5)(?!))(?i:transfer-encoding):[ \t]*+((?i:chunked))[ \t]*+\r\n"
    rb"|(?(7)(?!))(?i:date):[ \t]*+([\x21-\x7e][ \x21-\x7e]*+)\r\n"
    rb"|(?i:keep-alive):" + VALUE + rb"*+\r\n"
    rb")*)\r\n"
).match  # fmt: skip
STATUS_LINE = re.compile(
    rb"HTTP/([0-9])\.([0-9]) ([0-9]{3})(?: [\t\x20-\x7e\x80-\xff]*)?"
).fullmatch
# a blank before the colon is dropped in responses (RFC 9112 5.1)
FIELD = re.compile(rb"(" + TOKEN + rb"+)[ \t]*:[ \t]*(" + VALUE + rb"*)").fullmatch
OWN_LINES = re.compile(
    rb"(?<=\r\n)(?i:connection|content-length|transfer-encoding|keep-alive):[^\r]*+\r\n"
).sub
LENGTH = re.compile(rb"[0-9]{1,18}").fullmatch
HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate",
    b"proxy-authentication-info", b"te", b"trailer", b"transfer-encoding", b"upgrade",
})  # fmt: skip
NOT_NOMINATED = frozenset({
    b"authorization", b"cache-control", b"content-encoding", b"content-length", b"content-range",
    b"content-type", b"date", b"location", b"set-cookie", b"vary", b"www-authenticate",
})  # fmt: skip
"""What Connection must not take away: who could would change what the response says."""
REMEMBERED = 2048
"""Bytes of a head that is worth keeping, should it come again."""
BLANK_LINE = b"\r\n\r\n"
SWITCHING = 101
UPGRADE_REQUIRED = 426


@final
class BadReply(Exception):  # noqa: N818 - it is the upstream that erred
    """An upstream sent no response, or an ambiguous one: ``reason`` says which rule it broke."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Reply(NamedTuple):
    """The head of one response.

    Attributes:
        status: From 100 to 599.
        head: What is sent on: the fields, the length that they say, and whether there is a Date.
        modern: It is HTTP/1.1.
        chunked: The body comes in chunks.
        persist: The connection may be used again, as far as the head says.
        fields: Of a 1xx: the same fields, apart; a 101 keeps those that say what follows.
        size: Bytes of the buffer that the head took.
    """

    status: int
    head: ResponseHead
    modern: bool
    chunked: bool
    persist: bool
    fields: tuple[tuple[bytes, bytes], ...]
    size: int

    @property
    def interim(self) -> bool:
        """Another response follows (RFC 9110 15.2)."""
        return self.status < 200 and self.status != SWITCHING

    def has_body(self, method: str) -> bool:
        """Whether a body follows (RFC 9112 6.3), whatever its length."""
        return self.status >= 200 and self.status not in BODILESS and method != "HEAD"


def parse_reply(buffer: bytes, limits: Http1Config, scanned: int = 0) -> Reply | None:
    """The head at the beginning of ``buffer``, or None when it is not complete yet.

    Args:
        buffer: what came from the upstream and was not used yet.
        limits: ``max_head`` (bytes) and ``max_fields``.
        scanned: the length of the buffer at the last call that returned None for it.

    Raises:
        BadReply: it is malformed, ambiguous or too large.
    """
    end = buffer.find(BLANK_LINE, max(0, scanned - 3)) + 4
    if end < 4:
        _judge_beginning(buffer, limits)
        return None
    head = buffer[:end]
    return (_parse_again if end <= REMEMBERED else _parse)(head, limits.max_head, limits.max_fields)


def _judge_beginning(buffer: bytes, limits: Http1Config) -> None:
    if not b"HTTP/".startswith(buffer[:5]):
        raise BadReply("this is not an HTTP response")
    if len(buffer) > limits.max_head:
        raise BadReply("the head is larger than allowed")
    if BARE_LF(buffer):
        raise BadReply("lines must end with CRLF, not with LF alone")


def _parse(head: bytes, max_head: int, max_fields: int) -> Reply:
    if len(head) > max_head:
        raise BadReply("the head is larger than allowed")
    if head.count(b"\r\n") - 2 > max_fields:
        raise BadReply("the head has more fields than allowed")
    match = FAST(head)
    if match is None or match.end() != len(head):
        return _parse_strictly(head)
    minor, status, block, connection, length, coding, date = match.groups()
    modern = minor == b"1"
    if coding is not None and not modern:
        raise BadReply("HTTP/1.0 has no Transfer-Encoding")
    # "keep-alive" has ten letters, in any case
    persist = modern if connection is None else len(connection) == 10
    lines = OWN_LINES(b"", block)[2:]
    fields = ResponseHead(lines, None if length is None else int(length), False, date is not None)
    return Reply(int(status), fields, modern, coding is not None, persist, (), len(head))


# A server that says the same again, in the same second, is read once.
_parse_again = lru_cache(maxsize=512)(_parse)


def _parse_strictly(head: bytes) -> Reply:
    if BARE_LF(head):
        raise BadReply("lines must end with CRLF, not with LF alone")
    line, *rest = head[:-4].split(b"\r\n")
    match = STATUS_LINE(line)
    if match is None:
        raise BadReply("the status line must be HTTP/1.1 STATUS REASON")
    major, minor, digits = match.groups()
    status = int(digits)
    if major != b"1" or not 100 <= status <= 599:
        raise BadReply("only HTTP/1 responses with a status from 100 to 599 are understood")
    fields = [_split(each) for each in rest]
    modern = minor != b"0"
    _ask_h11(line, fields, modern)
    return _assemble(status, fields, modern, len(head))


def _split(line: bytes) -> tuple[bytes, bytes, bytes]:
    match = FIELD(line)
    if match is None:
        if line[:1] in (b" ", b"\t"):
            raise BadReply("folded header lines are obsolete and not accepted")
        raise BadReply("a header line must be NAME, a colon and a value without controls")
    name, value = match.groups()
    return name.lower(), name, value.rstrip(b" \t")


def _ask_h11(line: bytes, fields: list[tuple[bytes, bytes, bytes]], modern: bool) -> None:
    """Let h11 judge what the strict layer has understood; it is the authority."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    method, upgrade = ("GET", [("Connection", "upgrade"), ("Upgrade", "any")])
    parser.send(h11.Request(method=method, target="/", headers=[("Host", "h"), *upgrade]))
    parser.send(h11.EndOfMessage())
    head = line + b"\r\n" + b"".join(b"%b: %b\r\n" % (name, value) for _, name, value in fields)
    try:
        parser.receive_data(head + b"\r\n")
        parser.next_event()
    except h11.RemoteProtocolError as error:
        _refuse_as_h11(error)
    if not modern and any(name == b"transfer-encoding" for name, _, _ in fields):
        raise BadReply("HTTP/1.0 has no Transfer-Encoding")


def _refuse_as_h11(error: h11.RemoteProtocolError) -> NoReturn:
    reason = str(error)
    known = reason if "'" not in reason and "\\" not in reason else "the head is malformed"
    raise BadReply(known) from error


def _assemble(
    status: int, fields: list[tuple[bytes, bytes, bytes]], modern: bool, size: int
) -> Reply:
    options = {
        option.strip(b" \t").lower()
        for name, _, value in fields
        if name == b"connection"
        for option in value.split(b",")
    }
    chunked = any(name == b"transfer-encoding" for name, _, _ in fields)
    length = _length([value for name, _, value in fields if name == b"content-length"])
    if status == SWITCHING and not (modern and any(name == b"upgrade" for name, _, _ in fields)):
        raise BadReply("a 101 must be HTTP/1.1 and say in Upgrade what follows")
    if chunked and length is not None:
        raise BadReply("both Content-Length and Transfer-Encoding")
    dropped = HOP_BY_HOP | {b"content-length"} | (options - NOT_NOMINATED)
    if status == SWITCHING:
        dropped -= {b"connection", b"upgrade"}
    kept = tuple((name, value) for key, name, value in fields if key not in dropped)
    lines = b"".join([b"%b: %b\r\n" % field for field in kept])
    if status == UPGRADE_REQUIRED:  # which says to what (RFC 9110 15.5.22)
        wanted = [value for name, _, value in fields if name == b"upgrade"]
        lines += b"".join([b"Upgrade: %b\r\n" % value for value in wanted])
    dated = any(name == b"date" for name, _, _ in fields)
    persist = b"close" not in options and (modern or b"keep-alive" in options)
    head = ResponseHead(lines, length, False, dated)
    return Reply(status, head, modern, chunked, persist, kept if status < 200 else (), size)


def _length(values: list[bytes]) -> int | None:
    """RFC 9110 8.6: equal duplicates are one, others are ambiguous."""
    members = {each.strip(b" \t") for value in values for each in value.split(b",")}
    if not members:
        return None
    if len(members) > 1 or not LENGTH(each := members.pop()):
        raise BadReply("Content-Length is no number, or contradicts another")
    return int(each)
