"""Rows about connections, their order and their end: points 25, 26, 34."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.proxy.message import Mismatch
from tests.e2e.proxy.steps import (
    OK,
    Row,
    asks,
    body,
    client_gets,
    client_half_closes,
    client_leaves,
    client_says,
    client_sees_the_end,
    closes,
    does,
    line,
    once_more,
    status,
    upstream_closes,
    upstream_hears,
    upstream_resets,
    upstream_saw_nothing,
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
GOOD = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"


def on_the_same_connection(talk: Talk) -> None:
    if len(talk.upstream.ends) != 1:
        raise Mismatch("the upstream got another connection")


def on_another_connection(talk: Talk) -> None:
    if len(talk.upstream.ends) != 2:
        raise Mismatch(f"the upstream got {len(talk.upstream.ends)} connections")


REUSE = (
    Row(
        "25-reused",
        "a connection carries one request after the other (M9.3)",
        (*once_more(), *once_more(), on_the_same_connection),
    ),
    *(
        Row(
            f"25-{name}",
            "one that ends under a request was idle for too long: again, on a new one (M9.3.1)",
            (
                *once_more(),
                asks(GET, HOST),
                upstream_sees(),
                on_the_same_connection,
                end,
                upstream_sees(line(GET)),
                upstream_says(OK),
                client_gets(status(200), body(b"hello")),
                on_another_connection,
            ),
        )
        for name, end in (("end", upstream_closes), ("reset", upstream_resets))
    ),
    Row(
        "25-body",
        "a small body is sent again with it",
        (
            *once_more(),
            asks(b"PUT / HTTP/1.1", HOST, b"Content-Length: 5", body=b"hello"),
            upstream_sees(body(b"hello")),
            upstream_closes,
            upstream_sees(line(b"PUT / HTTP/1.1"), body(b"hello")),
            upstream_says(OK),
            client_gets(status(200)),
        ),
    ),
    Row(
        "25-post",
        "but nothing that may have been done already (S9.2.2)",
        (
            *once_more(),
            asks(POST, HOST, b"Content-Length: 5", body=b"hello"),
            upstream_sees(body(b"hello")),
            upstream_closes,
            client_gets(status(502)),
            upstream_saw_nothing,
            on_the_same_connection,
        ),
    ),
    Row(
        "25-answered",
        "nor what was answered in part",
        (
            *once_more(),
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(b"HTTP/1.1 200 OK\r\nConte"),
            upstream_closes,
            client_gets(status(502)),
            upstream_saw_nothing,
            on_the_same_connection,
        ),
    ),
    Row(
        "25-idle",
        "one that ends while it is idle is not used",
        (
            *once_more(),
            upstream_closes,
            asks(POST, HOST, b"Content-Length: 5", body=b"hello"),
            upstream_sees(body(b"hello")),
            upstream_says(OK),
            client_gets(status(200)),
        ),
    ),
    Row(
        "25-unasked",
        "nor one that said what nobody had asked for (M9.2)",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(OK + OK.replace(b"hello", b"wrong")),
            client_gets(body(b"hello")),
            upstream_sees_the_end,
            *once_more(),
        ),
    ),
)  # fmt: skip


def one_at_a_time(talk: Talk) -> None:
    talk.upstream.look()
    if seen := b"".join([end.seen for end in talk.upstream.ends]):
        raise Mismatch(f"the upstream saw more before it had answered: {seen!r}")


PIPELINES = (
    Row(
        "26-order",
        "pipelined requests go one after the other, and so do the answers (M9.3.2)",
        (
            client_says(b"".join([GOOD % name for name in (b"1", b"2", b"3")])),
            *(
                step
                for name in (b"1", b"2", b"3")
                for step in (
                    upstream_sees(line(b"GET /%b HTTP/1.1" % name)),
                    one_at_a_time,
                    upstream_says(OK.replace(b"hello", b"hell" + name)),
                    client_gets(body(b"hell" + name)),
                )
            ),
        ),
    ),
    Row(
        "26-error",
        "up to the one that isn't one, which ends it",
        (
            client_says(GOOD % b"1" + b"NONSENSE\r\n\r\n" + GOOD % b"2"),
            upstream_sees(line(b"GET /1 HTTP/1.1")),
            upstream_says(OK),
            client_gets(status(200), body(b"hello")),
            client_gets(status(400), closes),
            client_sees_the_end,
            upstream_saw_nothing,
        ),
    ),
    Row(
        "34-abort",
        "a client that leaves takes its request along",
        (
            asks(GET, HOST),
            upstream_sees(),
            client_leaves,
            upstream_sees_the_end,
        ),
    ),
    Row(
        "34-abort-body",
        "from the middle of an answer",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(1000)),
            does(lambda talk: talk.wait(lambda: len(talk.client.seen) > 1000, "the start")),
            client_leaves,
            upstream_sees_the_end,
        ),
    ),
    Row(
        "34-abort-upload",
        "and from the middle of its own body, which is not whole",
        (
            asks(POST, HOST, b"Content-Length: 1000", body=bytes(100)),
            upstream_hears(bytes(100)),
            client_leaves,
            upstream_sees_the_end,
        ),
    ),
    Row(
        "34-half-close",
        "one that has only said its last, behind several requests, waits for the answers",
        (
            client_says(GOOD % b"1" + GOOD % b"2"),
            client_half_closes,
            upstream_sees(line(b"GET /1 HTTP/1.1")),
            upstream_says(OK),
            client_gets(body(b"hello")),
            upstream_sees(line(b"GET /2 HTTP/1.1")),
            upstream_says(OK),
            client_gets(body(b"hello")),
            client_sees_the_end,
        ),
    ),
)  # fmt: skip

ROWS = REUSE + PIPELINES
