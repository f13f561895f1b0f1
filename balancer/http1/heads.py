"""Request heads: bytes in, a ``Head`` or a ``RequestError`` out.  Pure.

Two ways lead to a ``Head``.  One compiled regular expression accepts the common head in about two
microseconds.  Whatever it does not match goes, byte for byte, to the strict layer and then to h11,
which is the authority on the protocol but takes about a hundred.  The strict layer comes first
because h11 0.16 lets some things pass: bare LF, obs-fold, control characters, an unchecked Host,
Content-Length beside Transfer-Encoding, Transfer-Encoding from HTTP/1.0, HTTP/2.0 as a version.
The regular expression accepts a subset of what those two accept, with the same meaning; the tests
prove it.

How the bytes were cut never changes the answer.  Limits and bare LF are judged by the *shortest
prefix* of the stream that breaks a rule; everything else is judged when the head is complete.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, final

import h11

from balancer.http1.errors import RequestError

if TYPE_CHECKING:
    from typing import NoReturn

    from balancer.http1.config import Http1Config

__all__ = ["Head", "only_blank_lines", "parse_head", "split_field", "strict_head"]

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
VALUE = rb"[\t\x20-\x7e\x80-\xff]"  # RFC 9110 5.5 without the CTLs that h11 lets pass
# RFC 3986 authority without userinfo; a comma is a legal sub-delim that smuggles lists, so not here
HOST = (
    rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?"
)
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
FIELD = re.compile(rb"(" + TOKEN + rb"+):[ \t]*(" + VALUE + rb"*)").fullmatch
REQUEST_LINE = re.compile(
    rb"(" + TOKEN + rb"+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])"
).fullmatch  # fmt: skip
ABSOLUTE = re.compile(rb"(?i:https?)://(" + HOST + rb")(/[^?]*)?(\?.*)?").fullmatch
VALID_HOST = re.compile(HOST).fullmatch
FIRST_BYTE = re.compile(TOKEN).match
BARE_LF = re.compile(rb"(?<!\r)\n").search

BLANK_LINE = b"\r\n\r\n"
MAX_LENGTH = 10**18 - 1
"""Content-Length is compared and counted as a signed 64-bit number by everybody behind us."""
REMEMBERED = 2048
"""Bytes of fields that are worth keeping for the next request, should it have the same."""
LEADING_BLANK_LINES = 2
"""RFC 9112 2.2 asks for at least one: old clients ended a body with an extra CRLF."""


@final
class Head:
    """The head of one request.

    ``target`` is as sent; ``origin`` is its path and query only (an absolute-form target names the
    host as well, and wins over the Host field, RFC 9112 3.2.2).  ``http_version`` is "1.0" or
    "1.1", which is what 1.2 means to us (RFC 9110 2.5).  ``keep_alive`` is the client's wish.
    ``size`` is the number of bytes of the buffer that the head took.
    """

    # what is rare stays the class's: a head is made for every request
    chunked = False
    expect_continue = False
    upgrade = False
    _headers: list[tuple[bytes, bytes]] | None = None

    def __init__(
        self,
        method: str,
        target: bytes,
        http_version: str,
        content_length: int,
        keep_alive: bool,
        size: int,
        fields: re.Match[bytes] | None,
    ) -> None:
        self.method = method
        self.target = target
        self.origin = target
        self.http_version = http_version
        self.content_length = content_length
        self.keep_alive = keep_alive
        self.size = size
        self._fields = fields

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The fields in order, names in lower case, values without the blanks around them."""
        if self._headers is None:
            assert self._fields is not None
            self._headers = _split_fields(self._fields)
        return self._headers

    def pick(self, names: tuple[bytes, ...]) -> tuple[str, ...]:
        """The last value of each field, as latin-1, or a dash; names in lower case.

        For logs; cheaper than ``headers`` where nobody has asked for those.
        """
        match = self._fields
        if match is None or self._headers is not None:
            found = dict(self.headers)
            return tuple([found.get(name, b"-").decode("latin-1") for name in names])
        block = match.string[match.end(3) : match.end() - 2]
        return (_find_again if len(block) <= REMEMBERED else _find_fields)(block, names)


def _find_fields(block: bytes, names: tuple[bytes, ...]) -> tuple[str, ...]:
    """Look for fields in lines that are known to be well-formed, each behind a CRLF."""
    lower = block.lower()
    found: list[str] = []
    for name in names:
        start = lower.rfind(b"\r\n%b:" % name)
        if start < 0:
            found.append("-")
        else:
            start += len(name) + 3
            value = block[start : block.index(b"\r\n", start)]
            found.append(value.strip(b" \t").decode("latin-1"))
    return tuple(found)


# most requests of a client differ from its last by nothing but the target
_find_again = lru_cache(maxsize=512)(_find_fields)


def _split_fields(match: re.Match[bytes]) -> list[tuple[bytes, bytes]]:
    block = match.string[match.end(3) + 2 : match.end() - 4]
    found = []
    for line in block.split(b"\r\n") if block else ():
        name, _, value = line.partition(b":")
        found.append((name.lower(), value.strip(b" \t")))
    return found


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
        raise _not_http()
    until = end if end >= 4 else len(buffer)
    line_limit = limits.max_request_line + 2
    broken: list[tuple[int, RequestError]] = []
    bare_lf = BARE_LF(buffer, max(start, scanned - 1), until)
    if bare_lf is not None:
        broken.append((bare_lf.end() - start, _bare_lf()))
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


def _not_http() -> RequestError:
    return RequestError(400, "this is not an HTTP request")


def _bare_lf() -> RequestError:
    return RequestError(400, "lines must end with CRLF, not with LF alone")


def strict_head(head: bytes, size: int) -> Head:
    """Parse one complete head, which ends with its blank line, by the strict layer and h11.

    Raises:
        RequestError: with the status of the answer.
    """
    if not FIRST_BYTE(head):
        raise _not_http()
    if BARE_LF(head):
        raise _bare_lf()
    request_line, *lines = head[:-4].split(b"\r\n")
    method, target, minor = _split_request_line(request_line)
    for line in lines:
        split_field(line)
    headers = _ask_h11(head)
    version = "1.1" if minor else "1.0"
    result = Head(method, target, version, 0, _wants_keep_alive(headers, minor), size, None)
    result._headers = headers
    _frame(result)
    _locate(result)
    _expect(result)
    result.upgrade = (
        bool(minor)
        and b"upgrade" in _tokens(headers, b"connection")
        and bool(_values(headers, b"upgrade"))
    )
    return result


def _split_request_line(line: bytes) -> tuple[str, bytes, int]:
    match = REQUEST_LINE(line)
    if match is None:
        raise RequestError(400, "the request line must be METHOD SP TARGET SP HTTP/1.1")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise RequestError(505, "this server speaks HTTP/1.0 and HTTP/1.1")
    return method.decode("ascii"), target, int(minor)


def split_field(line: bytes) -> tuple[bytes, bytes]:
    """Name in lower case and value of one field line, of a head or of trailers.

    Raises:
        RequestError: 400; the line is folded, has a blank before its colon, a control character…
    """
    match = FIELD(line)
    if match is not None:
        return match[1].lower(), match[2].rstrip(b" \t")
    if line[:1] in (b" ", b"\t"):
        raise RequestError(400, "folded header lines are obsolete and not accepted")
    name, colon, _ = line.partition(b":")
    if colon and re.fullmatch(TOKEN + rb"+", name):
        raise RequestError(400, "a header value has a control character")
    raise RequestError(400, "a header line must be NAME, a colon and a value")


def _ask_h11(head: bytes) -> list[tuple[bytes, bytes]]:
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
    try:
        parser.receive_data(head)
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        _refuse_as_h11(error)
    assert isinstance(event, h11.Request)
    return list(event.headers)


def _refuse_as_h11(error: h11.RemoteProtocolError) -> NoReturn:
    # h11 quotes the request in some messages; these it does not
    reason = str(error)
    known = reason if "'" not in reason and "\\" not in reason else "the head is malformed"
    raise RequestError(error.error_status_hint, known) from error


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def _tokens(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """The members of a list field, over all its lines, in lower case."""
    members = b",".join(_values(headers, name)).lower().split(b",")
    return [member.strip(b" \t") for member in members if member.strip(b" \t")]


def _wants_keep_alive(headers: list[tuple[bytes, bytes]], minor: int) -> bool:
    options = _tokens(headers, b"connection")
    return b"close" not in options and (minor > 0 or b"keep-alive" in options)


def _frame(head: Head) -> None:
    """RFC 9112 6.3, with every ambiguity refused."""
    lengths = _values(head.headers, b"content-length")
    if _values(head.headers, b"transfer-encoding"):  # h11 has seen that it is exactly `chunked`
        if head.http_version == "1.0":
            raise RequestError(400, "HTTP/1.0 has no Transfer-Encoding")
        if lengths:
            raise RequestError(400, "both Content-Length and Transfer-Encoding")
        head.chunked = True
    elif lengths:
        head.content_length = int(lengths[0])
        if head.content_length > MAX_LENGTH:
            raise RequestError(413, "the body is larger than anybody can send")


def _locate(head: Head) -> None:
    """RFC 9112 3.2 and 3.3: the four forms of a target, and the Host they need."""
    hosts = _values(head.headers, b"host")  # h11: at most one, and one from HTTP/1.1
    if hosts and hosts[0] and not VALID_HOST(hosts[0]):
        raise RequestError(400, "the Host field is not a host with an optional port")
    if head.method == "CONNECT":
        if not VALID_HOST(head.target):
            raise RequestError(400, "CONNECT needs a host and a port")
        raise RequestError(501, "this server is no tunnel: CONNECT is not implemented")
    if head.target == b"*":
        if head.method != "OPTIONS":
            raise RequestError(400, "the target * is for OPTIONS only")
    elif b"#" in head.target:
        raise RequestError(400, "the target has a fragment")
    elif not head.target.startswith(b"/"):
        _absolute(head, hosts)


def _absolute(head: Head, hosts: list[bytes]) -> None:
    match = ABSOLUTE(head.target)
    if match is None:
        raise RequestError(400, "the target must be a path or an http URL")
    if hosts == [b""]:
        raise RequestError(400, "the Host field is empty and the target is not")
    authority, path, query = match.groups()
    if path is None and query is None and head.method == "OPTIONS":
        head.origin = b"*"  # RFC 9112 3.2.4
    else:
        head.origin = (path or b"/") + (query or b"")
    others = [field for field in head.headers if field[0] != b"host"]
    head._headers = [(b"host", authority), *others]


def _expect(head: Head) -> None:
    """RFC 9110 10.1.1; an HTTP/1.0 client can't mean it."""
    if head.http_version == "1.0":
        return
    expectations = _tokens(head.headers, b"expect")
    if any(each != b"100-continue" for each in expectations):
        raise RequestError(417, "the only expectation this server knows is 100-continue")
    head.expect_continue = bool(expectations) and (head.chunked or head.content_length > 0)
