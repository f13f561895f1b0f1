"""Rows about bodies, whole and broken off: points 4, 8, 9, 22-24."""

from __future__ import annotations

from tests.e2e.proxy.steps import (
    OK,
    Row,
    asks,
    body,
    client_gets,
    client_is_cut_off,
    client_says,
    client_sees_a_reset,
    client_sees_the_end,
    closes,
    does,
    framed,
    has,
    lacks,
    line,
    once_more,
    passes,
    persists,
    raw_lacks,
    refused,
    status,
    trailer,
    trailers_lack,
    upstream_closes,
    upstream_hears,
    upstream_resets,
    upstream_says,
    upstream_sees,
    upstream_sees_the_end,
)

__all__ = ["ROWS"]

GET = b"GET / HTTP/1.1"
POST = b"POST / HTTP/1.1"
HOST = b"Host: a"
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
FORBIDDEN = (
    b"Content-Length: 6\r\nTransfer-Encoding: gzip\r\nHost: evil\r\nAuthorization: Basic eA==\r\n"
    b"Connection: close\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_Proto: https\r\n"
    b"Set-Cookie: a=b\r\n"
)
FRAMING_NAMES = (
    b"content-length", b"transfer-encoding", b"host", b"authorization", b"connection",
    b"set-cookie",
)  # fmt: skip
FORBIDDEN_NAMES = (*FRAMING_NAMES, b"x-forwarded-for", b"x_forwarded_proto")


TRAILERS = (
    Row(
        "04-request",
        "trailers go on behind chunks, not as fields (S6.5, M7.1.2)",
        (
            asks(POST, HOST, CHUNKED, body=b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
            upstream_sees(framed("chunked"), body(b"hello"), trailer(b"x-sum", b"1"),
                          lacks(b"x-sum")),
            upstream_says(OK),
            client_gets(status(200)),
        ),
    ),
    Row(
        "04-request-forbidden",
        "but for framing, routing and who asks (S6.5.1)",
        (
            asks(POST, HOST, CHUNKED,
                 body=b"5\r\nhello\r\n0\r\n" + FORBIDDEN + b"X-Sum: 1\r\n\r\n"),
            upstream_sees(trailers_lack(*FORBIDDEN_NAMES), trailer(b"x-sum", b"1")),
            upstream_says(OK),
            client_gets(status(200)),
        ),
    ),
    passes("04-response", "the same for a response",
           (GET, HOST, b"TE: trailers", b"Connection: TE"),
           answer=CHUNKS + b"0\r\nX-Sum: 1\r\n\r\n",
           got=(framed("chunked"), body(b"hello"), trailer(b"x-sum", b"1"), lacks(b"x-sum"))),
    passes("04-response-forbidden", "with the same exceptions", (GET, HOST),
           answer=CHUNKS + b"0\r\n" + FORBIDDEN + b"X-Sum: 1\r\n\r\n",
           got=(trailers_lack(*FRAMING_NAMES), trailer(b"x-sum", b"1"))),
    Row(
        "04-http-1.0",
        "who gets no chunks gets no trailers",
        (
            asks(b"GET / HTTP/1.0", HOST),
            upstream_sees(),
            upstream_says(CHUNKS + b"0\r\nX-Sum: 1\r\n\r\n"),
            client_gets(body(b"hello"), lacks(b"x-sum")),
            client_sees_the_end,
        ),
    ),
)  # fmt: skip

BODILESS = (
    *(
        Row(
            f"08-{name}",
            says,
            (
                asks(request, HOST),
                upstream_sees(),
                upstream_says(answer),
                client_gets(*got, persists),
                *once_more(),
            ),
        )
        for name, says, request, answer, got in (
            ("head", "HEAD has the length and no body (S9.3.2)", b"HEAD / HTTP/1.1",
             b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
             (has(b"content-length", b"5"),)),
            ("head-chunked", "whatever the framing (M6.3)", b"HEAD / HTTP/1.1",
             b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (status(200),)),
            ("304", "so has 304 (S8.6)", GET,
             b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
             (status(304), has(b"content-length", b"5"))),
            ("304-chunked", "whatever the framing (M6.3)", GET,
             b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", (status(304),)),
            ("204", "204 has not even a length (S8.6)", GET,
             b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
             (status(204), lacks(b"content-length", b"transfer-encoding"))),
            ("204-chunked", "nor chunks (M6.1)", GET,
             b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
             (status(204), lacks(b"content-length", b"transfer-encoding"))),
        )
    ),
    Row(
        "08-103",
        "nor has any 1xx (S8.6)",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n", OK),
            client_gets(status(103), lacks(b"content-length")),
            client_gets(status(200), body(b"hello")),
        ),
    ),
    *(
        Row(
            f"08-{name}-with-body",
            "a body that must not be is dropped, with its connection (M6.3)",
            (
                asks(request, HOST),
                upstream_sees(),
                upstream_says(b"HTTP/1.1 %b\r\nContent-Length: 5\r\n\r\nhello" % answer),
                client_gets(status(int(answer[:3]))),
                upstream_sees_the_end,
                *once_more(),
            ),
        )
        for name, request, answer in (
            ("head", b"HEAD / HTTP/1.1", b"200 OK"),
            ("204", GET, b"204 No Content"),
            ("304", GET, b"304 Not Modified"),
        )
    ),
)  # fmt: skip

FRAMING = (
    Row(
        "09-request",
        "chunks are made anew, without their extensions (M7.1, M7.1.1)",
        (
            asks(POST, HOST, CHUNKED, body=b'002;a=b\r\nhe\r\n3;c="d"\r\nllo\r\n000;e\r\n\r\n'),
            upstream_sees(framed("chunked"), body(b"hello"),
                          raw_lacks(b"a=b"), raw_lacks(b"\r\n00")),
            upstream_says(OK),
            client_gets(status(200)),
            *once_more(),
        ),
    ),
    Row(
        "09-response",
        "both ways",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(CHUNKS.replace(b"\r\n5\r\n", b"\r\n0005;a=b\r\n") + b"0;c\r\n\r\n"),
            client_gets(framed("chunked"), body(b"hello"), raw_lacks(b"a=b")),
            *once_more(),
        ),
    ),
    Row(
        "09-length",
        "a length is a length, as digits (M6.2)",
        (
            asks(POST, HOST, b"Content-Length: 0005", body=b"hello"),
            upstream_sees(has(b"content-length", b"5"), body(b"hello")),
            upstream_says(OK.replace(b": 5", b": 0005")),
            client_gets(has(b"content-length", b"5"), body(b"hello")),
            *once_more(),
        ),
    ),
    passes("09-no-body", "a POST without a body says so (S8.6)",
           (POST, HOST), has(b"content-length", b"0")),
    refused("09-chunk-size", "a malformed chunk is the client's fault (M7.1)",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0x5\r\nhello\r\n0\r\n\r\n",
            400),
)  # fmt: skip

ENDS = (
    Row(
        "22-length",
        "HTTP/1.0 behind us may send a length, and its connection closes (C.2.2)",
        (
            asks(GET, HOST),
            upstream_sees(line(GET)),
            upstream_says(OK.replace(b"HTTP/1.1", b"HTTP/1.0")),
            client_gets(line(b"HTTP/1.1 200 OK"), body(b"hello"), persists),
            upstream_sees_the_end,
            *once_more(),
        ),
    ),
    Row(
        "22-to-the-end",
        "or none: that is chunks to HTTP/1.1, which goes on (M6.3)",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(b"HTTP/1.0 200 OK\r\n\r\nhello"),
            upstream_closes,
            client_gets(framed("chunked"), body(b"hello"), persists),
            *once_more(),
        ),
    ),
    Row(
        "22-chunks-1.0",
        "chunks from HTTP/1.0 are nothing that one may believe (M6.1)",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says((CHUNKS + b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")),
            client_gets(status(502)),
            upstream_sees_the_end,
        ),
    ),
    *(
        Row(
            f"22-short-{name}",
            "an answer that breaks off breaks off for the client (M8)",
            (asks(GET, HOST), upstream_sees(), upstream_says(answer), end, client_is_cut_off),
        )
        for name, answer, end in (
            ("length", OK[:-2], upstream_closes),
            ("chunk", CHUNKS[:-4], upstream_closes),
            ("chunks", CHUNKS, upstream_closes),
            ("length-reset", OK[:-2], upstream_resets),
            ("chunks-reset", CHUNKS, upstream_resets),
        )
    ),
    *(
        Row(
            f"22-short-1.0-{name}",
            "by a reset, where the end would look like the body's (M8)",
            (
                asks(b"GET / HTTP/1.0", HOST),
                upstream_sees(),
                upstream_says(CHUNKS),
                end,
                client_sees_a_reset,
            ),
        )
        for name, end in (("end", upstream_closes), ("reset", upstream_resets))
    ),
    Row(
        "22-malformed-chunk",
        "one whose chunks are none from the start is a 502 (M7.1)",
        (
            asks(GET, HOST),
            upstream_sees(),
            upstream_says(CHUNKS + b"zz\r\nhello\r\n0\r\n\r\n"),
            upstream_sees_the_end,
            client_gets(status(502)),
        ),
    ),
    Row(
        "23-early",
        "an answer before the request's end is sent at once, and is the last (M9.5, M9.6)",
        (
            asks(POST, HOST, b"Content-Length: 100000", body=bytes(1000)),
            upstream_hears(b"\r\n\r\n", bytes(1000)),
            upstream_says(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"),
            client_gets(status(413), body(b"no"), closes),
            # what it still sends makes no reset of what it hasn't read
            client_says(bytes(30_000)),
            client_sees_the_end,
            client_says(bytes(20_000)),
            upstream_sees_the_end,
        ),
    ),
    Row(
        "24-dies",
        "who answers and dies over the rest has answered (M9.5)",
        (
            asks(POST, HOST, b"Content-Length: 10000000", body=bytes(1000)),
            upstream_hears(b"\r\n\r\n"),
            upstream_says(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
            # with bytes unread, which makes a reset of it
            does(lambda talk: talk.client.say(bytes(10_000))),
            upstream_closes,
            client_gets(status(403), body(b"no")),
        ),
    ),
    Row(
        "24-without-a-word",
        "who only dies has not",
        (
            asks(POST, HOST, b"Content-Length: 10000000", body=bytes(1000)),
            upstream_hears(b"\r\n\r\n"),
            upstream_resets,
            client_gets(status(502)),
        ),
    ),
)  # fmt: skip

ROWS = TRAILERS + BODILESS + FRAMING + ENDS
