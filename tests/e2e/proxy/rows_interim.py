"""Rows about what comes before an answer, or instead of one: points 5-7, and tunnels of 34."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.proxy.steps import (
    OK,
    Row,
    asks,
    body,
    client_gets,
    client_gets_bytes,
    client_half_closes,
    client_says,
    client_sees_the_end,
    closes,
    does,
    has,
    lacks,
    line,
    once_more,
    only,
    refused,
    status,
    upstream_closes,
    upstream_half_closes,
    upstream_hears,
    upstream_says,
    upstream_sees,
    upstream_sees_the_end,
)

if TYPE_CHECKING:
    from tests.e2e.proxy.talk import Talk

__all__ = ["ROWS"]

GET = b"GET / HTTP/1.1"
POST = b"POST / HTTP/1.1"
HOST = b"Host: a"
LENGTH = b"Content-Length: 5"
EXPECT = b"Expect: 100-continue"
OFFER = (b"Connection: Upgrade", b"Upgrade: chat")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n"
GOOD = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"


def continues(talk: Talk) -> None:
    """The upstream agrees, if it was asked."""
    if b"100-continue" in talk.end.log:
        talk.end.say(b"HTTP/1.1 100 Continue\r\n\r\n")


INTERIM = (
    Row(
        "05-continue",
        "who waits for a 100 gets it when an upstream is there (S10.1.1)",
        (
            asks(POST, HOST, LENGTH, EXPECT),
            upstream_hears(b"POST / HTTP/1.1\r\n", b"\r\n\r\n"),
            continues,
            client_gets(status(100)),
            client_says(b"hello"),
            upstream_hears(b"hello"),
            upstream_says(OK),
            client_gets(status(200)),
        ),
    ),
    Row(
        "05-nobody",
        "and not when there is none",
        (
            does(lambda talk: talk.upstream.deafen()),
            asks(POST, HOST, LENGTH, EXPECT),
            client_gets(status(502, 503)),
        ),
    ),
    refused("05-unknown", "there is no other expectation (S10.1.1)",
            b"GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n", 417),
    Row(
        "05-http-1.0",
        "HTTP/1.0 can't mean it (S10.1.1)",
        (
            asks(b"POST / HTTP/1.0", HOST, LENGTH, EXPECT, body=b"hello"),
            upstream_sees(lacks(b"expect"), body(b"hello")),
            upstream_says(OK),
            client_gets(status(200)),
        ),
    ),
    Row(
        "06-early-hints",
        "interim responses go on, each with its fields (S15.2, RFC 8297)",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
                          b"HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n", OK),
            client_gets(status(103), has(b"link", b"</a>")),
            client_gets(status(103), has(b"link", b"</b>")),
            client_gets(status(200), lacks(b"link"), body(b"hello")),
            *once_more(),
        ),
    ),
    Row(
        "06-unknown",
        "those that nobody knows, too (S15.2)",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(b"HTTP/1.1 199 Odd\r\n\r\n", OK),
            client_gets(status(199)),
            client_gets(status(200)),
        ),
    ),
    Row(
        "06-continue",
        "and a 100 that we had not asked for (S15.2)",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(b"HTTP/1.1 100 Continue\r\n\r\n", OK),
            client_gets(status(100)),
            client_gets(status(200)),
        ),
    ),
    Row(
        "06-http-1.0",
        "HTTP/1.0 knows none of them (S15.2)",
        (
            asks(b"GET / HTTP/1.0", HOST),
            upstream_sees(),
            upstream_says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", OK),
            client_gets(status(200), lacks(b"link")),
        ),
    ),
)  # fmt: skip

UPGRADE = (
    Row(
        "07-tunnel",
        "who both want leave HTTP, with all that is under way (S7.8)",
        (
            asks(GET, HOST, *OFFER, body=b"early client"),
            upstream_sees(has(b"upgrade", b"chat"), only(b"connection", b"upgrade")),
            upstream_says(SWITCH + b"early server"),
            client_gets(status(101), has(b"upgrade", b"chat"), has(b"connection")),
            client_gets_bytes(b"early server"),
            upstream_hears(b"early client"),
            client_says(b"GET / HTTP/1.1\r\n\r\n"),
            upstream_hears(b"GET / HTTP/1.1\r\n\r\n"),
            upstream_says(b"more"),
            client_gets_bytes(b"more"),
        ),
    ),
    Row(
        "34-tunnel",
        "in a tunnel either may say its last, and hear the other out",
        (
            asks(GET, HOST, *OFFER),
            upstream_sees(),
            upstream_says(SWITCH),
            client_gets(status(101)),
            client_half_closes,
            upstream_sees_the_end,
            upstream_says(b"more"),
            client_gets_bytes(b"more"),
            upstream_closes,
            client_sees_the_end,
        ),
    ),
    Row(
        "34-tunnel-server",
        "the server, too",
        (
            asks(GET, HOST, *OFFER),
            upstream_sees(),
            upstream_says(SWITCH),
            client_gets(status(101)),
            upstream_half_closes,
            client_sees_the_end,
            client_says(b"more"),
            upstream_hears(b"more"),
            client_half_closes,
        ),
    ),
    Row(
        "07-unasked",
        "a 101 that nobody asked for is no answer (S15.2.2)",
        (
            asks(GET, HOST),
            upstream_sees(lacks(b"upgrade")),
            upstream_says(SWITCH + b"what is this"),
            client_gets(status(502)),
            upstream_sees_the_end,
        ),
    ),
    Row(
        "07-with-body",
        "nor one before the request is complete",
        (
            asks(POST, HOST, *OFFER, b"Content-Length: 100000", body=b"hello"),
            upstream_hears(b"hello"),
            upstream_says(SWITCH),
            client_gets(status(502), closes),
            upstream_sees_the_end,
        ),
    ),
    Row(
        "07-declined",
        "an upstream may say no: what follows is HTTP (S7.8)",
        (
            asks(GET, HOST, *OFFER, body=GOOD % b"second"),
            upstream_sees(has(b"upgrade", b"chat")),
            upstream_says(OK),
            client_gets(status(200), body(b"hello")),
            upstream_sees(line(b"GET /second HTTP/1.1"), lacks(b"upgrade")),
            upstream_says(OK),
            client_gets(status(200), body(b"hello")),
        ),
    ),
    Row(
        "07-required",
        "and a 426 says to what (S15.5.22)",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(b"HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\n"
                          b"Upgrade: chat\r\nContent-Length: 0\r\n\r\n"),
            client_gets(status(426), has(b"upgrade", b"chat")),
        ),
    ),
    Row(
        "07-not-nominated",
        "an Upgrade that Connection doesn't name is none (S7.8)",
        (
            asks(GET, HOST, b"Upgrade: chat"),
            upstream_sees(lacks(b"upgrade")),
            upstream_says(OK),
            client_gets(status(200)),
        ),
    ),
    Row(
        "07-http-1.0",
        "nor is HTTP/1.0's (S7.8)",
        (
            asks(b"GET / HTTP/1.0", HOST, *OFFER),
            upstream_sees(lacks(b"upgrade")),
            upstream_says(OK),
            client_gets(status(200)),
        ),
    ),
)  # fmt: skip

ROWS = INTERIM + UPGRADE
