"""The strict layer, and h11 behind it: what is not a common head is parsed here, in full.

h11 is the authority on the protocol.  The strict layer comes first because h11 0.16 lets some
things pass: bare LF, obs-fold, control characters, an unchecked Host, Content-Length beside
Transfer-Encoding, Transfer-Encoding from HTTP/1.0, HTTP/2.0 as a version.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import h11

from balancer.http1.errors import RequestError
from balancer.http1.grammar import BARE_LF, FIRST_BYTE, HOST, TOKEN, VALID_HOST, VALUE
from balancer.http1.head import Head

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["bare_lf", "not_http", "split_field", "strict_head"]

FIELD = re.compile(rb"(" + TOKEN + rb"+):[ \t]*(" + VALUE + rb"*)").fullmatch
REQUEST_LINE = re.compile(
    rb"(" + TOKEN + rb"+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])"
).fullmatch  # fmt: skip
ABSOLUTE = re.compile(rb"(?i:https?)://(" + HOST + rb")(/[^?]*)?(\?.*)?").fullmatch
MAX_LENGTH = 10**18 - 1
"""Content-Length is compared and counted as a signed 64-bit number by everybody behind us."""


def not_http() -> RequestError:
    """The first byte is none of a request's."""
    return RequestError(400, "this is not an HTTP request")


def bare_lf() -> RequestError:
    """A line ends with LF alone."""
    return RequestError(400, "lines must end with CRLF, not with LF alone")


def strict_head(head: bytes, size: int) -> Head:
    """Parse one complete head, which ends with its blank line, by the strict layer and h11.

    Raises:
        RequestError: with the status of the answer.
    """
    if not FIRST_BYTE(head):
        raise not_http()
    if BARE_LF(head):
        raise bare_lf()
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
    if not hosts and head.http_version == "1.1":  # h11 lets HTTP/1.2 pass, which is 1.1 to us
        raise RequestError(400, "Missing mandatory Host: header")
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
