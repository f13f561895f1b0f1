"""Rows about heads that are refused, and those that aren't: points 10-21, 31, 35."""

from __future__ import annotations

from tests.e2e.proxy.steps import (
    OK,
    Row,
    asks,
    body,
    client_gets,
    client_says,
    client_sees_the_end,
    closes,
    framed,
    has,
    lacks,
    line,
    once_more,
    passes,
    persists,
    refused,
    status,
    upstream_saw_nothing,
    upstream_says,
    upstream_sees,
    upstream_sees_the_end,
)

__all__ = ["ROWS"]

GET = b"GET / HTTP/1.1"
POST = b"POST / HTTP/1.1"
HOST = b"Host: a"
ZERO = b"0\r\n\r\n"


def lines(*each: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join(each) + b"\r\n\r\n" + body


def bad(name: str, says: str, *each: bytes, body: bytes = b"", by: tuple[int, ...] = (400,)) -> Row:
    """A head that is refused."""
    return refused(name, says, lines(*each, body=body), *by)


def bad_reply(name: str, says: str, answer: bytes) -> Row:
    """A response that is refused, with its connection."""
    return Row(
        name,
        says,
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(answer),
            client_gets(status(502)),
            upstream_sees_the_end,
        ),
    )


CHUNKED = b"Transfer-Encoding: chunked"
TWO_LENGTHS = (b"Content-Length: 5", b"Content-Length: 6")

FRAMING = (
    bad("10-length-first", "two framings are none (M6.1, M6.3)",
        POST, HOST, b"Content-Length: 5", CHUNKED, body=ZERO),
    bad("10-chunked-first", "in either order",
        POST, HOST, CHUNKED, b"Content-Length: 5", body=ZERO),
    bad_reply("10-response", "of a response, too (M6.3)",
              b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + ZERO),
    bad("11-http-1.0", "HTTP/1.0 has no transfer codings (M6.1)",
        b"POST / HTTP/1.0", HOST, CHUNKED, body=ZERO),
    *(
        bad(f"11-{name}", "exactly one `chunked`, or an error (M6.1, M7)",
            POST, HOST, *coding, body=ZERO, by=(400, 501))
        for name, coding in {
            "gzip": (b"Transfer-Encoding: gzip, chunked",),
            "twice": (b"Transfer-Encoding: chunked, chunked",),
            "two-lines": (CHUNKED, CHUNKED),
            "identity": (b"Transfer-Encoding: identity",),
            "not-last": (b"Transfer-Encoding: chunked, identity",),
            "unknown": (b"Transfer-Encoding: xchunked",),
            "empty": (b"Transfer-Encoding:",),
            "quoted": (b'Transfer-Encoding: "chunked"',),
        }.items()
    ),
    *(
        bad_reply(f"11-response-{name}", "of a response as well",
                  b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %b\r\n\r\n" % coding + ZERO)
        for name, coding in {"gzip": b"gzip, chunked", "unknown": b"xchunked"}.items()
    ),
    *(
        bad(f"12-{name}", "a length is digits, once (M6.3, S8.6)",
            POST, HOST, *length, body=b"hello!")
        for name, length in {
            "two": TWO_LENGTHS,
            "list": (b"Content-Length: 5, 6",),
            "plus": (b"Content-Length: +5",),
            "minus": (b"Content-Length: -5",),
            "hex": (b"Content-Length: 0x5",),
            "empty": (b"Content-Length:",),
            "blank": (b"Content-Length: 5 5",),
            "underscore": (b"Content-Length: 0_5",),
            "fraction": (b"Content-Length: 5.0",),
        }.items()
    ),
    Row(
        "12-equal",
        "equal ones are one (S8.6)",
        (
            asks(POST, HOST, b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
            upstream_sees(has(b"content-length", b"5"), body(b"hello")),
            upstream_says(OK),
            client_gets(status(200)),
        ),
    ),
    *(
        bad_reply(f"12-response-{name}", "of a response as well (M6.3)",
                  lines(b"HTTP/1.1 200 OK", *length, body=b"hello!"))
        for name, length in {
            "two": TWO_LENGTHS, "plus": (b"Content-Length: +5",), "empty": (b"Content-Length:",),
        }.items()
    ),
    passes("12-response-equal", "where equal ones are one, too (S8.6)", (GET, HOST),
           answer=lines(b"HTTP/1.1 200 OK", b"Content-Length: 5", b"Content-Length: 5",
                        body=b"hello"),
           got=(has(b"content-length", b"5"), body(b"hello"))),
)  # fmt: skip

TARGETS = (
    bad("13-missing", "HTTP/1.1 has a Host (M3.2)", GET),
    bad("13-twice", "one (M3.2)", GET, HOST, HOST),
    *(
        bad(f"13-{name}", "that is a host, perhaps with a port (M3.2, S7.2)", GET, b"Host: " + host)
        for name, host in {
            "userinfo": b"user@a", "path": b"a/b", "comma": b"a,b", "space": b"a b",
            "port": b"a:b", "bracket": b"[::1", "percent": b"a%zz",
        }.items()
    ),
    bad("13-empty-with-authority", "empty only where the target has none, too (M3.2)",
        b"GET http://a/ HTTP/1.1", b"Host:"),
    passes("13-absolute", "the target's wins, and is what goes on (M3.2.2)",
           (b"GET http://b:81/x?y HTTP/1.1", HOST),
           line(b"GET /x?y HTTP/1.1"), has(b"host", b"b:81")),
    passes("13-http-1.0", "HTTP/1.0 may have none", (b"GET / HTTP/1.0",), has(b"host")),
    passes("14-absolute-query", "an empty path is / (M3.2.1)",
           (b"GET http://a?x HTTP/1.1", HOST), line(b"GET /?x HTTP/1.1")),
    passes("14-asterisk", "* is for OPTIONS (M3.2.4)",
           (b"OPTIONS * HTTP/1.1", HOST), line(b"OPTIONS * HTTP/1.1")),
    passes("14-options-absolute", "and is what a URL without path is to OPTIONS (M3.2.4)",
           (b"OPTIONS http://a HTTP/1.1", HOST), line(b"OPTIONS * HTTP/1.1")),
    bad("14-asterisk-get", "and for nothing else (M3.2.4)", b"GET * HTTP/1.1", HOST),
    bad("14-authority", "an authority is for CONNECT (M3.2.3)", b"GET a:80 HTTP/1.1", HOST),
    bad("14-relative", "a path begins with /", b"GET a/b HTTP/1.1", HOST),
    bad("14-scheme", "a URL is an http URL (S4.2)", b"GET ftp://a/ HTTP/1.1", HOST),
    bad("14-userinfo", "without a user (S4.2.4)", b"GET http://u:p@a/ HTTP/1.1", HOST),
    bad("35-connect", "there is no CONNECT, and so no 2xx to it (S9.3.6)",
        b"CONNECT a:443 HTTP/1.1", b"Host: a:443", by=(405, 501)),
    bad("31-fragment", "a fragment is for the client itself (M3.2)", b"GET /a#b HTTP/1.1", HOST),
    bad("31-space", "a space ends a target (M3)", b"GET /a b HTTP/1.1", HOST),
    bad("31-tab", "and nothing else does", b"GET\t/a\tHTTP/1.1", HOST),
    bad("31-control", "a target is visible ASCII", b"GET /a\x7f HTTP/1.1", HOST),
    bad("31-not-ascii", "only", b"GET /caf\xc3\xa9 HTTP/1.1", HOST),
)  # fmt: skip

LOOPS = (
    passes("15-max-forwards", "each hop takes one (S7.6.2)",
           (b"OPTIONS / HTTP/1.1", HOST, b"Max-Forwards: 5"), has(b"max-forwards", b"4")),
    Row(
        "15-last-hop",
        "and the last answers (S7.6.2)",
        (
            asks(b"OPTIONS / HTTP/1.1", HOST, b"Max-Forwards: 0"),
            client_gets(status(200)),
            upstream_saw_nothing,
            *once_more(),
        ),
    ),
    passes("15-others", "of OPTIONS and TRACE (S7.6.2)",
           (GET, HOST, b"Max-Forwards: 0"), has(b"max-forwards", b"0")),
    bad("15-trace", "TRACE tells a page's script what it must not know (S9.3.8)",
        b"TRACE / HTTP/1.1", HOST, by=(405,)),
)  # fmt: skip

LINES = (
    bad("16-fold", "folded lines are obsolete (M5.2)", GET, HOST, b"X: a", b" b"),
    bad("16-fold-tab", "with a tab as well", GET, HOST, b"X: a", b"\tb"),
    bad("16-first", "a blank in front of the first field hides it (M2.2)", GET, b" X: a", HOST),
    bad_reply("16-response", "of a response: refused rather than joined (M5.2)",
              lines(b"HTTP/1.1 200 OK", b"X: a", b" b", b"Content-Length: 5", body=b"hello")),
    bad("17-blank", "no blank before the colon (M5.1)",
        POST, HOST, b"Content-Length : 5", body=b"hello"),
    bad("17-tab", "nor a tab", POST, HOST, b"Content-Length\t: 5", body=b"hello"),
    passes("17-response", "which a response loses (M5.1)", (GET, HOST),
           answer=lines(b"HTTP/1.1 200 OK", b"Content-Length : 5", b"X-A \t: b", body=b"hello"),
           got=(has(b"x-a", b"b"), body(b"hello"))),
    bad("18-cr", "a CR that ends no line (M2.2)", GET, HOST, b"X: a\rb"),
    bad("18-cr-before-end", "wherever it is", GET, HOST, b"X: a\r"),
    bad("18-cr-line", "in the request line, too", b"GET /\r HTTP/1.1", HOST),
    bad("18-lf", "lines end with CRLF", GET, b"Host: a\nX: b"),
    bad("18-lf-line", "the first one, too", b"GET / HTTP/1.1\nHost: a"),
    refused("18-lf-only", "and the blank one", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    bad_reply("18-response-lf", "of a response as well",
              b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    bad_reply("18-response-cr", "or as bare", lines(b"HTTP/1.1 204 No", b"X: a\rb")),
    *(
        bad(f"19-{name}", "no controls in values (S5.5)", GET, HOST, b"X: a%bb" % char)
        for name, char in {"nul": b"\0", "soh": b"\1", "vt": b"\x0b", "del": b"\x7f"}.items()
    ),
    *(
        bad(f"19-name-{name}", "names are tokens (S5.1)", GET, HOST, b"%b: x" % field)
        for name, field in {
            "empty": b"", "paren": b"X(", "nul": b"X\0", "not-ascii": b"X\xe9", "slash": b"X/Y",
        }.items()
    ),
    bad("19-no-colon", "a field has a colon", GET, HOST, b"X"),
    bad_reply("19-response-nul", "of a response as well",
              lines(b"HTTP/1.1 204 No", b"X: a\0b")),
    bad_reply("19-response-name", "names, too", lines(b"HTTP/1.1 204 No", b"X(: a")),
    *(
        Row(
            f"20-{count}",
            "blank lines in front of a request are nothing (M2.2)",
            (
                client_says(b"\r\n" * count),
                *once_more(),
            ),
        )
        for count in (1, 2)
    ),
)  # fmt: skip

CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
VERSIONS = (
    bad("21-2.0", "another major version is another protocol (S2.5)",
        b"GET / HTTP/2.0", HOST, by=(505,)),
    bad("21-0.9", "and so is none", b"GET /", by=(400,)),
    bad("21-words", "HTTP in capitals, one digit each (M2.3)", b"GET / http/1.1", HOST),
    bad("21-digits", "no more", b"GET / HTTP/1.10", HOST),
    passes("21-1.2", "1.2 is what 1.1 is to us (S2.5)", (b"GET / HTTP/1.2", HOST),
           line(b"GET / HTTP/1.1"), got=(line(b"HTTP/1.1 200 OK"), persists)),
    passes("21-ours", "the version is each hop's own (S2.5)", (b"GET / HTTP/1.0", HOST),
           line(b"GET / HTTP/1.1"), got=(line(b"HTTP/1.1 200 OK"),)),
    Row(
        "21-1.0-chunks",
        "HTTP/1.0 knows no chunks: the end of the connection is the body's (M6.1, M6.3)",
        (
            asks(b"GET / HTTP/1.0"),
            upstream_sees(),
            upstream_says(CHUNKS),
            client_gets(lacks(b"transfer-encoding"), framed("close"), body(b"hello")),
            client_sees_the_end,
        ),
    ),
    Row(
        "21-1.0-closes",
        "and closes, unless it asks (M9.3)",
        (
            asks(b"GET / HTTP/1.0"),
            upstream_sees(),
            upstream_says(OK),
            client_gets(framed("length"), closes),
            client_sees_the_end,
        ),
    ),
    Row(
        "21-1.0-keep-alive",
        "as ab -k does (M9.3, C.2.2)",
        (
            asks(b"GET / HTTP/1.0", b"Connection: Keep-Alive"),
            upstream_sees(),
            upstream_says(OK),
            client_gets(framed("length"), has(b"connection", b"keep-alive")),
            *once_more(),
        ),
    ),
    Row(
        "21-1.0-keep-alive-chunks",
        "and can't be had without a length",
        (
            asks(b"GET / HTTP/1.0", b"Connection: keep-alive"),
            upstream_sees(),
            upstream_says(CHUNKS),
            client_gets(framed("close"), closes, body(b"hello")),
            client_sees_the_end,
        ),
    ),
)  # fmt: skip

ROWS = FRAMING + TARGETS + LOOPS + LINES + VERSIONS
