"""Rows about errors, whoever made them: point 33."""

from __future__ import annotations

from contextlib import closing

from tests.e2e.proxy.steps import (
    OK,
    Check,
    Row,
    Step,
    asks,
    body,
    client_gets,
    client_says,
    client_sees_the_end,
    closes,
    does,
    framed,
    has,
    mentions,
    once_more,
    persists,
    refused,
    status,
    upstream_saw_nothing,
    upstream_says,
    upstream_sees,
    upstream_sees_the_end,
)
from tests.e2e.proxy.talk import Talk, connect

__all__ = ["ROWS"]

GET = b"GET / HTTP/1.1"
POST = b"POST / HTTP/1.1"
HOST = b"Host: a"


def another_gets(*checks: Check) -> Step:
    """What another client gets at the same time."""

    def step(talk: Talk) -> None:
        with closing(Talk(connect(talk.client.sock.getpeername()[1]), talk.upstream)) as other:
            asks(GET, HOST)(other)
            client_gets(*checks)(other)

    return step


ROWS = (
    refused("33-431", "a head that is too large (RFC 6585 5)",
            b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: %b\r\n" % (b"x" * 7000) * 10 + b"\r\n",
            431, 400),
    refused("33-414", "a target that is too long (S15.5.15)",
            b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 20000), 414),
    Row(
        "33-413",
        "a body that is too large (S15.5.14)",
        (
            asks(POST, HOST, b"Content-Length: 1001"),
            client_gets(status(413), closes, framed("length")),
            client_sees_the_end,
            upstream_saw_nothing,
        ),
        impatient=True,
    ),
    Row(
        "33-413-chunked",
        "or becomes so",
        (
            asks(POST, HOST, b"Transfer-Encoding: chunked",
                 body=b"400\r\n" + bytes(1024) + b"\r\n"),
            client_gets(status(413), closes, framed("length")),
            client_sees_the_end,
        ),
        impatient=True,
    ),
    Row(
        "33-408",
        "a head that does not come to its end in time (S15.5.9)",
        (
            client_says(b"GET / HTTP/1.1\r\nHost:"),
            client_gets(status(408), closes, framed("length")),
            client_sees_the_end,
            upstream_saw_nothing,
        ),
        impatient=True,
    ),
    Row(
        "33-502",
        "an upstream that speaks something else (S15.6.3)",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(b"220 mail.example ESMTP\r\n\r\n"),
            client_gets(status(502), framed("length")),
            upstream_sees_the_end,
        ),
    ),
    Row(
        "33-502-large",
        "or a head without end",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(b"HTTP/1.1 200 OK\r\n" + b"X: %b\r\n" % (b"x" * 7000) * 10 + b"\r\n"),
            client_gets(status(502), framed("length")),
            upstream_sees_the_end,
        ),
    ),
    Row(
        "33-502-head",
        "to HEAD without a body (S9.3.2)",
        (
            asks(b"HEAD / HTTP/1.1", HOST),
            upstream_sees(),
            upstream_says(b"220 mail.example ESMTP\r\n\r\n"),
            client_gets(status(502), has(b"content-length")),
            client_sees_the_end,
        ),
    ),
    Row(
        "33-refused",
        "nobody there",
        (
            does(lambda talk: talk.upstream.deafen()),
            asks(GET, HOST),
            client_gets(status(502, 503), framed("length"), mentions(b"content-type", b"text/")),
        ),
    ),
    Row(
        "33-503",
        "nobody who has time (S15.6.4)",
        (
            asks(GET, HOST),
            upstream_sees(),
            another_gets(status(503), framed("length"), has(b"retry-after")),
            upstream_says(OK),
            client_gets(status(200)),
        ),
        impatient=True,
    ),
    Row(
        "33-504",
        "nobody who answers in time (S15.6.5)",
        (
            asks(GET, HOST),
            upstream_sees(),
            client_gets(status(504), framed("length")),
            upstream_sees_the_end,
        ),
        impatient=True,
    ),
    Row(
        "33-pass",
        "what an upstream says is an error is an answer",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(b"HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 5\r\n\r\nhello"),
            client_gets(status(503), has(b"retry-after", b"9"), body(b"hello"), persists),
            *once_more(),
        ),
    ),
)  # fmt: skip
