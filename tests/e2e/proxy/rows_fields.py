"""Rows about fields that are passed on, dropped, or ours: points 1-3, 27-30, 32, 36, 37."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.e2e.proxy.steps import (
    Check,
    Row,
    asks,
    body,
    client_gets,
    has,
    lacks,
    line,
    only,
    passes,
    refused,
    status,
    upstream_saw_nothing,
    upstream_says,
    upstream_sees,
)

if TYPE_CHECKING:
    from tests.e2e.proxy.message import Message

__all__ = ["ROWS"]

GET = b"GET / HTTP/1.1"
HOST = b"Host: a"
DATED = b"Date: Tue, 24 Nov 2026 10:50:17 GMT"


def answer(*lines: bytes) -> bytes:
    """A response of five bytes with these fields."""
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: 5", *lines]) + b"\r\n\r\nhello"


def _appended(version: bytes) -> Check:
    def check(got: Message) -> str | None:
        members = [each.strip() for value in got.values(b"via") for each in value.split(b",")]
        if len(members) == 2 and members[0] == b"1.0 fred" and members[1].startswith(version):
            return None
        return f"Via with {members}"

    return check


HOP_BY_HOP = (
    passes(
        "01-own-fields",
        "what belongs to the client's connection stays behind (S7.6.1)",
        (GET, HOST, b"Keep-Alive: timeout=9", b"Proxy-Connection: keep-alive", b"Trailer: X",
         b"Upgrade: h2c", b"X-End: 1"),
        lacks(b"keep-alive", b"proxy-connection", b"trailer", b"upgrade"),
        has(b"x-end", b"1"),
    ),
    passes(
        "01-nominated",
        "so does what Connection nominates, on all of its lines (S7.6.1)",
        (GET, HOST, b"Connection: close, X-One", b"X-One: 1", b"connection:x-two ,, ", b"X-Two: 2",
         b"X-Three: 3"),
        lacks(b"x-one", b"x-two"),
        has(b"x-three", b"3"),
    ),
    passes(
        "01-nominated-identity",
        "a nomination takes nothing away that says who asks, and for what",
        (GET, HOST, b"Connection: Host, Authorization, Cookie, X-Forwarded-For, Forwarded, Via",
         b"Authorization: Basic eA==", b"Cookie: a=b"),
        has(b"host", b"a"),
        has(b"authorization", b"Basic eA=="),
        has(b"cookie", b"a=b"),
        has(b"x-forwarded-for", b"127.0.0.1"),
    ),
    Row(
        "01-nominated-length",
        "nor a body's framing",
        (
            asks(b"POST / HTTP/1.1", HOST, b"Connection: Content-Length", b"Content-Length: 5",
                 body=b"hello"),
            upstream_sees(body(b"hello"), has(b"content-length", b"5")),
            upstream_says(answer()),
            client_gets(status(200)),
        ),
    ),
    passes(
        "01-response",
        "the same for a response (S7.6.1)",
        (GET, HOST),
        answer=answer(b"Connection: X-One", b"X-One: 1", b"connection: keep-alive, x-two",
                      b"X-Two: 2", b"Keep-Alive: timeout=9", b"Proxy-Connection: keep-alive",
                      b"Trailer: X", b"X-Three: 3"),
        got=(lacks(b"x-one", b"x-two", b"keep-alive", b"proxy-connection"), has(b"x-three", b"3")),
    ),
    passes(
        "01-identity",
        "who the client is, is our word, not the client's (RFC 7239 8.1)",
        (GET, b"Host: a:81", b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-Proto: https",
         b"X-Forwarded-Host: evil", b"X-Forwarded-Port: 6", b"Forwarded: for=6.6.6.6"),
        has(b"x-forwarded-for", b"127.0.0.1"),
        has(b"x-forwarded-proto", b"http"),
        has(b"x-forwarded-host", b"a:81"),
        has(b"forwarded", b'for=127.0.0.1;host="a:81";proto=http'),
    ),
    replace(
        passes(
            "01-trusted",
            "unless it is a proxy whose word we take: then ours is appended",
            (GET, HOST, b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-Proto: https",
             b"X-Forwarded-Host: b", b"Forwarded: for=6.6.6.6"),
            only(b"x-forwarded-for", b"6.6.6.6", b"127.0.0.1"),
            has(b"x-forwarded-proto", b"https"),
            has(b"x-forwarded-host", b"b"),
            only(b"forwarded", b"for=6.6.6.6", b"for=127.0.0.1;host=a;proto=http"),
        ),
        impatient=True,
    ),
    passes(
        "02-request",
        "credentials for a proxy are for that proxy (S11.7)",
        (GET, HOST, b"Proxy-Authorization: Basic eA==", b"Authorization: Basic eQ=="),
        lacks(b"proxy-authorization"),
        has(b"authorization", b"Basic eQ=="),
    ),
    passes(
        "02-response",
        "and a proxy's challenge is that proxy's (S11.7)",
        (GET, HOST),
        answer=answer(b"Proxy-Authenticate: Basic", b"Proxy-Authentication-Info: x",
                      b"WWW-Authenticate: Basic"),
        got=(lacks(b"proxy-authenticate", b"proxy-authentication-info"),
             has(b"www-authenticate", b"Basic")),
    ),
    passes(
        "03-trailers",
        "of TE only `trailers` goes on, and is nominated (S10.1.4)",
        (GET, HOST, b"Connection: TE", b"TE: deflate;q=0.5, Trailers"),
        has(b"te", b"trailers"),
        only(b"connection", b"te"),
    ),
    passes(
        "03-others",
        "without it nothing does",
        (GET, HOST, b"Connection: TE", b"TE: deflate"),
        lacks(b"te", b"connection"),
    ),
)  # fmt: skip

OURS = (
    passes(
        "27-request",
        "Via is appended to, with the version that came (S7.6.3)",
        (GET, HOST, b"Via: 1.0 fred"),
        _appended(b"1.1 "),
        answer=answer(b"Via: 1.0 fred"),
        got=(_appended(b"1.1 "),),
    ),
    passes(
        "27-version",
        "which may be HTTP/1.0",
        (b"GET / HTTP/1.0", HOST, b"Via: 1.0 fred"),
        _appended(b"1.0 "),
        answer=answer(b"Via: 1.0 fred").replace(b"HTTP/1.1", b"HTTP/1.0"),
        got=(_appended(b"1.0 "),),
    ),
    passes(
        "28-added",
        "a Date is added where the upstream has none (S6.6.1)",
        (GET, HOST),
        answer=answer(),
        got=(has(b"date"),),
    ),
    passes(
        "28-kept",
        "and left where it has one; Server is never ours (S10.2.4)",
        (GET, HOST),
        answer=answer(DATED, b"Server: theirs/1"),
        got=(has(b"date", DATED[6:]), has(b"server", b"theirs/1")),
    ),
    passes(
        "28-no-server",
        "not even where there is none",
        (GET, HOST),
        answer=answer(),
        got=(lacks(b"server"),),
    ),
)  # fmt: skip

END_TO_END = (
    passes(
        "29-set-cookie",
        "Set-Cookie is never joined (S5.3)",
        (GET, HOST),
        answer=answer(b"Set-Cookie: a=1; Expires=Tue, 24 Nov 2026 10:50:17 GMT",
                      b"X-Between: 1", b"Set-Cookie: b=2"),
        got=(has(b"set-cookie", b"a=1; Expires=Tue, 24 Nov 2026 10:50:17 GMT", b"b=2"),),
    ),
    passes(
        "29-order",
        "equal names keep their order, both ways (S5.3)",
        (GET, HOST, b"X-A: 1", b"X-B: 2", b"x-a: 3"),
        has(b"x-a", b"1", b"3"),
        answer=answer(b"X-A: 1", b"X-B: 2", b"x-a: 3"),
        got=(has(b"x-a", b"1", b"3"),),
    ),
    passes(
        "29-text",
        "values are bytes: nothing is decoded (S5.5)",
        (GET, HOST, b"X-Text: caf\xc3\xa9 \xff", b"X-Empty:"),
        has(b"x-text", b"caf\xc3\xa9 \xff"),
        has(b"x-empty", b""),
        answer=answer(b"X-Text: caf\xc3\xa9 \xff"),
        got=(has(b"x-text", b"caf\xc3\xa9 \xff"),),
    ),
    passes(
        "30-path",
        "the path goes on as it came (S4.2.3, S7.7)",
        (b"GET /a/../b//c/./%2e%2E%2f%41%7e;p=1\\x?q=%zz&&r=/../ HTTP/1.1", HOST),
        line(b"GET /a/../b//c/./%2e%2E%2f%41%7e;p=1\\x?q=%zz&&r=/../ HTTP/1.1"),
    ),
    refused(
        "30-nul",
        "but no NUL: what is written in C behind us takes it for the end",
        b"GET /a%00.txt HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
    ),
    passes(
        "30-nul-query",
        "of a query nobody makes a file name",
        (b"GET /a?b=%00 HTTP/1.1", HOST),
        line(b"GET /a?b=%00 HTTP/1.1"),
    ),
    passes(
        "32-underscores",
        "names that servers take for others are dropped",
        (GET, HOST, b"X_Forwarded_For: 6.6.6.6", b"X-Forwarded_Proto: https",
         b"Transfer_Encoding: x", b"Content_Length: 6", b"Proxy_Connection: x"),
        lacks(b"x_forwarded_for", b"x-forwarded_proto", b"transfer_encoding", b"content_length",
              b"proxy_connection"),
    ),
    passes(
        "32-dots",
        "with dots, too (Caddy's GHSA-49wc-4hcv-v58q)",
        (GET, HOST, b"X.Forwarded.For: 6.6.6.6", b"X.Forwarded-Host: evil"),
        lacks(b"x.forwarded.for", b"x.forwarded-host"),
    ),
    passes(
        "32-others",
        "and no others: they are the app's affair",
        (GET, HOST, b"X_Custom: 1", b"X.Custom: 2"),
        has(b"x_custom", b"1"),
        has(b"x.custom", b"2"),
    ),
    Row(
        "36-misdirected",
        "a 421 is the upstream's to say, and isn't repeated elsewhere (S7.4)",
        (
            asks(GET, b"Host: other"),
            upstream_sees(has(b"host", b"other")),
            upstream_says(answer().replace(b"200 OK", b"421 Misdirected Request")),
            client_gets(status(421), body(b"hello")),
            upstream_saw_nothing,
        ),
    ),
    passes(
        "37-early-data",
        "Early-Data goes on, and so does 425 (RFC 8470 5.1, 5.2)",
        (GET, HOST, b"Early-Data: 1"),
        has(b"early-data", b"1"),
        answer=answer().replace(b"200 OK", b"425 Too Early"),
        got=(status(425), body(b"hello")),
    ),
)  # fmt: skip

ROWS = HOP_BY_HOP + OURS + END_TO_END
