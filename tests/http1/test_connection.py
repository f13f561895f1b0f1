"""Conversations in memory: what goes over the wire, whole and byte by byte."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.http1 import (
    ClientGone,
    Exchange,
    Fields,
    Handler,
    Http1Config,
    MisuseError,
    RequestError,
)
from balancer.http1.phase import Phase
from tests.http1.fakes import CUTS, answer_to, conversation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from balancer.http1.tally import Done

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
OK_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"

cut = pytest.mark.parametrize("piece", CUTS, ids=["whole", "bytewise"])


async def hi(exchange: Exchange) -> None:
    await exchange.respond(200, (), b"hi")


async def echo(exchange: Exchange) -> None:
    body = b""
    while piece := await exchange.read():
        body += piece
    await exchange.respond(200, (), body)


def post(body: bytes, more: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n" % (len(body), more) + body


def ok(body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), more, body)


class Counts:
    def __init__(self) -> None:
        self.done: list[tuple[int, int, int]] = []

    patience = 1

    def requests_done(self, done: Sequence[Done]) -> None:
        for status, seconds, bytes_in, bytes_out in done:
            assert seconds >= 0
            self.done.append((status, bytes_in, bytes_out))


# requests


@cut
async def test_keep_alive_and_pipelining(piece: int) -> None:
    assert await answer_to(hi, GET * 3, piece=piece) == OK * 3


@cut
async def test_close_when_asked(piece: int) -> None:
    assert await answer_to(hi, GET + CLOSE + GET, piece=piece) == OK + OK_CLOSE


async def test_one_send_per_small_response() -> None:
    async with conversation(hi) as talk:
        sends: list[bytes | memoryview] = []
        original = talk.transport.send_nowait

        def send(data: bytes | memoryview) -> int:
            sends.append(data)
            return original(data)

        talk.transport.send_nowait = send  # type: ignore[method-assign]
        talk.say(GET)
        assert await talk.hear() == OK
        assert len(sends) == 1


@cut
async def test_the_last_of_many_responses_says_so(piece: int) -> None:
    config = Http1Config(keep_alive_requests=2)
    assert await answer_to(hi, GET * 3, piece=piece, config=config) == OK + OK_CLOSE


async def test_who_decided_to_close_waits_for_the_other() -> None:
    async with conversation(hi) as talk:
        talk.say(CLOSE)  # the client promised to send no more
        await talk.hear()
        assert talk.state() == "closed"
        assert talk.transport.half_closed
    async with conversation(hi, config=Http1Config(keep_alive_requests=1)) as talk:
        talk.say(GET)
        assert await talk.hear() == OK_CLOSE
        assert talk.state() == "half-closed"
        talk.transport.feed_eof()
        await talk.over.wait()
    async with conversation(hi) as talk:
        talk.say(CLOSE + b"x")  # a promise broken
        assert await talk.hear() == OK_CLOSE
        assert talk.state() == "half-closed"


@cut
async def test_http_1_0(piece: int) -> None:
    plain = b"GET / HTTP/1.0\r\n\r\n"
    kept = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n"
    answer = ok(b"hi", b"Connection: keep-alive\r\n")
    assert await answer_to(hi, kept * 2 + plain, piece=piece) == answer * 2 + OK_CLOSE


@cut
async def test_bodies(piece: int) -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = post(b"hello") + chunked + b"3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: u\r\n\r\n" + post(b"")
    assert await answer_to(echo, data, piece=piece) == ok(b"hello") + ok(b"abcde") + ok(b"")


@cut
async def test_trailers_and_head_facts(piece: int) -> None:
    async def handler(exchange: Exchange) -> None:
        while await exchange.read():
            pass
        assert exchange.trailers == [(b"t", b"u")]
        assert (exchange.method, exchange.target) == ("POST", b"/a%20b?c?d")
        assert (exchange.path, exchange.query) == (b"/a%20b", b"c?d")
        assert exchange.headers[0] == (b"host", b"a")
        assert exchange.client == ("203.0.113.9", 4711)
        assert exchange.server == ("127.0.0.1", 8000)
        assert (exchange.scheme, exchange.http_version) == ("http", "1.1")
        await hi(exchange)

    data = b"POST /a%20b?c?d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    data += b"1\r\nx\r\n0\r\nT: u\r\n\r\n"
    assert await answer_to(handler, data, piece=piece) == OK


@cut
async def test_head_has_no_body(piece: int) -> None:
    head = GET.replace(b"GET", b"HEAD")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    assert await answer_to(hi, head + GET, piece=piece) == answer + OK


@cut
async def test_malformed_requests_end_the_connection(piece: int) -> None:
    answer = await answer_to(hi, GET + b"GET / HTTP/1.1\r\n\r\n" + GET, piece=piece)
    assert answer.startswith(OK + b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n")
    assert answer.count(b"HTTP/1.1") == 2
    assert b"Connection: close\r\n\r\n400 Bad Request: " in answer


@cut
async def test_body_larger_than_allowed(piece: int) -> None:
    config = Http1Config(max_body=4)
    answer = await answer_to(echo, post(b"hello", b"Expect: 100-continue\r\n"), config=config)
    assert answer.startswith(b"HTTP/1.1 413 Content Too Large") or b" 413 " in answer[:14]
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    answer = await answer_to(echo, chunked, piece=piece, config=config)
    assert b" 413 " in answer[:14]
    assert await answer_to(echo, post(b"hell"), config=config) == ok(b"hell")


@cut
async def test_malformed_chunks(piece: int) -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await answer_to(echo, chunked + b"5\r\nhellox" + GET, piece=piece)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


@cut
async def test_client_leaves_in_a_head_or_body(piece: int) -> None:
    assert await answer_to(hi, GET[:-3], piece=piece) == b""
    assert await answer_to(echo, post(b"hello")[:-1], piece=piece) == b""


async def test_stats_count_every_response() -> None:
    counts = Counts()
    bad = b"GET / HTTP/1.1\r\n\r\n"
    answer = await answer_to(echo, GET + post(b"hello") + bad, stats=counts)
    assert [status for status, _, _ in counts.done] == [200, 200, 400]
    assert [size for _, size, _ in counts.done] == [len(GET), len(post(b"hello")), len(bad)]
    dates = 3 * len("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
    assert sum(size for _, _, size in counts.done) == len(answer) + dates


# Expect: 100-continue


async def test_continue_is_sent_when_the_handler_reads() -> None:
    async with conversation(echo) as talk:
        talk.say(post(b"hello", b"Expect: 100-continue\r\n")[:-5])
        assert await talk.hear() == b"HTTP/1.1 100 Continue\r\n\r\n"
        talk.say(b"hello" + GET)
        assert await talk.hear() == ok(b"hello") + ok(b"")


async def test_no_continue_when_the_body_is_there() -> None:
    expect = post(b"hello", b"Expect: 100-continue\r\n")
    assert await answer_to(echo, expect + GET) == ok(b"hello") + ok(b"")


async def test_a_refusal_instead_of_continue_closes() -> None:
    async with conversation(hi) as talk:
        talk.say(post(b"hello", b"Expect: 100-continue\r\n")[:-5])
        assert await talk.hear() == OK_CLOSE
        assert talk.transport.half_closed


async def test_no_continue_to_http_1_0() -> None:
    data = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    async with conversation(echo) as talk:
        talk.say(data)
        assert await talk.hear() == b""
        talk.say(b"hi")
        assert await talk.hear() == OK_CLOSE


# unread bodies


@cut
async def test_a_small_unread_rest_is_discarded(piece: int) -> None:
    answer = await answer_to(hi, post(b"x" * 60000) + GET, piece=piece)
    assert answer == OK * 2


async def test_an_unread_chunked_body_that_has_come() -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    assert await answer_to(hi, data + GET) == OK * 2


async def test_a_big_unread_body_closes() -> None:
    config = Http1Config(linger_bytes=1000)
    assert await answer_to(hi, post(b"x" * 30000) + GET, config=config) == OK_CLOSE


async def test_lingering_discards_for_a_while(autojump_clock: trio.testing.MockClock) -> None:
    async with conversation(hi) as talk:
        talk.say(post(b"x" * 200000)[:20000])
        assert await talk.hear() == OK_CLOSE
        assert (talk.transport.half_closed, talk.transport.closed) == (True, False)
        talk.say(b"more")
        await talk.over.wait()
        assert 1.7 < trio.current_time() < 2.6
        assert talk.transport.unread == b""
        assert autojump_clock.rate == 0.0


async def test_lingering_ends_after_enough_bytes() -> None:
    async with conversation(hi) as talk:
        talk.say(post(b"x" * 200000)[:-1])
        await talk.over.wait()
        assert 200000 - 2 * 65536 < len(talk.transport.unread) < 200000


# responses


async def stream(exchange: Exchange) -> None:
    await exchange.start(200, [(b"x", b"y")])
    await exchange.write(b"hello")
    await exchange.write(b"")
    await exchange.write(b"world")
    await exchange.finish([(b"t", b"u")])


@cut
async def test_streaming(piece: int) -> None:
    head = b"HTTP/1.1 200 OK\r\nx: y\r\n"
    chunks = b"5\r\nhello\r\n5\r\nworld\r\n0\r\nt: u\r\n\r\n"
    answer = await answer_to(stream, GET * 2, piece=piece)
    assert answer == (head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks) * 2
    answer = await answer_to(stream, GET.replace(b"1.1", b"1.0"), piece=piece)
    assert answer == head + b"Connection: close\r\n\r\nhelloworld"


async def test_the_first_piece_leaves_with_the_head() -> None:
    gate = trio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, [(b"Content-Length", b"4")])
        await gate.wait()
        await exchange.write(b"hi")
        await exchange.write(b"ho")
        await exchange.finish()

    async with conversation(handler) as talk:
        talk.say(GET)
        assert await talk.hear() == b""
        gate.set()
        assert await talk.hear() == ok(b"hiho")


async def test_nothing_was_written() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.start(204, [(b"Content-Length", b"0")])
        await exchange.finish()

    assert await answer_to(handler, GET * 2) == b"HTTP/1.1 204 No Content\r\n\r\n" * 2


async def test_fields_the_engine_decides() -> None:
    fields = ((b"date", b"today"), (b"transfer-encoding", b"gzip"), (b"connection", b"x, Close"))

    async def handler(exchange: Exchange) -> None:
        await exchange.respond(299, fields, b"hi")

    answer = b"HTTP/1.1 299 \r\ndate: today\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    assert await answer_to(handler, GET * 2) == answer


async def test_304_and_head_keep_the_length_they_are_given() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.respond(304, [(b"Content-Length", b"99"), (b"ETag", b'"x"')])

    answer = b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 99\r\n\r\n'
    assert await answer_to(handler, GET) == answer


async def test_interim_responses() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.inform(103, [(b"Link", b"</a>")])
        await hi(exchange)

    assert await answer_to(handler, GET) == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
    assert await answer_to(handler, GET.replace(b"1.1", b"1.0")) == OK_CLOSE


async def test_upgrade() -> None:
    asks = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"

    async def handler(exchange: Exchange) -> None:
        assert exchange.upgrade_requested
        tunnel = await exchange.upgrade([(b"Connection", b"Upgrade"), (b"Upgrade", b"x")])
        tunnel.transport.send_nowait(b"<" + tunnel.buffered + b">")

    answer = await answer_to(handler, asks + b"early" + GET)
    head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    assert answer == head + b"<early" + GET + b">"
    assert await answer_to(hi, asks + GET) == OK * 2  # an offer that nobody takes


async def test_a_tunnel_that_is_cancelled_ends_and_is_counted() -> None:
    """What its handler says last must not be lost to a reset; unless it wants one."""
    asks = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"

    def tunnel(last: Callable[[Exchange], None]) -> Handler:
        async def handler(exchange: Exchange) -> None:
            tunnel = await exchange.upgrade([(b"Connection", b"Upgrade"), (b"Upgrade", b"x")])
            try:
                await trio.sleep_forever()
            finally:
                tunnel.transport.send_nowait(b"bye")
                last(exchange)

        return handler

    for last, aborted in ((lambda _: None, False), (Exchange.abort, True)):
        async with conversation(tunnel(last)) as talk:
            talk.say(asks)
            await talk.hear()
        assert talk.transport.sent == b"bye"
        assert talk.transport.aborted == aborted

    async def handler(exchange: Exchange) -> None:
        await exchange.upgrade([(b"Connection", b"Upgrade"), (b"Upgrade", b"x")])
        exchange.count(5, 7)

    counts = Counts()
    head = await answer_to(handler, asks, stats=counts)
    assert counts.done == [(101, len(asks) + 5, len(head) + 7)]


# what a handler does wrong


def misused(*steps: Callable[[Exchange], Awaitable[None]]) -> Handler:
    """A handler whose last step must raise, and who then answers, if it still can."""

    async def handler(exchange: Exchange) -> None:
        for step in steps[:-1]:
            await step(exchange)
        with pytest.raises(MisuseError):
            await steps[-1](exchange)
        if exchange.phase is Phase.PENDING:
            await hi(exchange)

    return handler


def start(status: int = 200, *fields: tuple[bytes, bytes]) -> Callable[[Exchange], Awaitable[None]]:
    return lambda exchange: exchange.start(status, fields)


def respond(status: int, fields: Fields, body: bytes) -> Callable[[Exchange], Awaitable[None]]:
    return lambda exchange: exchange.respond(status, fields, body)


def write(data: bytes) -> Callable[[Exchange], Awaitable[None]]:
    return lambda exchange: exchange.write(data)


@pytest.mark.parametrize(
    "step",
    [
        write(b"x"),
        lambda exchange: exchange.finish(),
        respond(200, [(b"X: y\r\nZ", b"1")], b""),
        respond(200, [(b"X", b"1\r\nY: 2")], b""),
        respond(200, ((b"X", b"1\x00"),), b""),
        respond(200, [(b"", b"")], b""),
        respond(200, [(b"Content-Length", b"3")], b"hi"),
        respond(200, [(b"Content-Length", b"+2")], b"hi"),
        respond(200, [(b"Content-Length", b"2"), (b"content-length", b"3")], b"hi"),
        respond(204, (), b"hi"),
        respond(304, (), b"hi"),
        respond(101, (), b""),
        respond(1000, (), b""),
        start(100),
        lambda exchange: exchange.inform(200),
        lambda exchange: exchange.inform(101),
        lambda exchange: exchange.inform(103, [(b"X", b"\n")]),
        lambda exchange: exchange.upgrade([]),
    ],
)
async def test_misuse_before_the_response(step: Callable[[Exchange], Awaitable[None]]) -> None:
    assert await answer_to(misused(step), GET) == OK


@pytest.mark.parametrize(
    "steps",
    [
        (hi, hi),
        (hi, write(b"x")),
        (hi, start()),
        (hi, lambda exchange: exchange.finish()),
        (hi, lambda exchange: exchange.inform(103)),
    ],
)
async def test_misuse_after_the_response(
    steps: tuple[Callable[[Exchange], Awaitable[None]], ...],
) -> None:
    assert await answer_to(misused(*steps), GET * 2) == OK * 2


LENGTH_2 = (b"Content-Length", b"2")


@pytest.mark.parametrize(
    ("steps", "method"),
    [
        ((start(200, LENGTH_2), write(b"hiho")), b"GET"),
        ((start(200, LENGTH_2), lambda exchange: exchange.finish()), b"GET"),
        ((start(200), write(b"hi")), b"HEAD"),
        ((start(204), write(b"hi")), b"GET"),
        ((start(200), lambda exchange: exchange.finish([(b"Content-Length", b"2")])), b"GET"),
    ],
)
async def test_misuse_before_the_head_left(
    steps: tuple[Callable[[Exchange], Awaitable[None]], ...], method: bytes
) -> None:
    answer = await answer_to(misused(*steps), GET.replace(b"GET", method))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_too_many_bytes_are_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, (LENGTH_2,))
        await exchange.write(b"hi")
        await exchange.write(b"ho")

    assert await answer_to(handler, GET * 2) == OK
    assert "longer than its Content-Length" in caplog.text


@pytest.mark.parametrize("finish", [True, False])
@pytest.mark.parametrize("fields", [(), ((b"Content-Length", b"5"),)])
async def test_too_few_bytes_are_seen(
    fields: Fields, finish: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, fields)
        await exchange.write(b"hi")
        if finish and fields:
            await exchange.finish()

    async with conversation(handler) as talk:
        talk.say(GET * 2)
        await talk.over.wait()
        assert talk.transport.aborted
        assert talk.transport.sent.count(b"HTTP/1.1") == 1
    assert "GET /" in caplog.text


async def test_no_response_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(exchange: Exchange) -> None:
        assert exchange.method == "GET"

    answer = await answer_to(handler, GET * 2)
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert answer.count(b"HTTP/1.1") == 1
    assert "no response to GET /" in caplog.text


@pytest.mark.parametrize("begin", [False, True])
async def test_an_exception_before_the_head_left_is_a_500(
    begin: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(exchange: Exchange) -> None:
        if begin:
            await exchange.start(200)
        raise ZeroDivisionError("secret")

    answer = await answer_to(handler, GET)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer
    assert "ZeroDivisionError: secret" in caplog.text


async def test_an_exception_in_a_response_aborts(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.start(200)
        await exchange.write(b"hi")
        raise ZeroDivisionError

    async with conversation(handler) as talk:
        talk.say(GET)
        await talk.over.wait()
        assert talk.transport.aborted
        assert not talk.transport.sent.endswith(b"0\r\n\r\n")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("grouped", [False, True])
async def test_peers_errors_are_not_logged(grouped: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(exchange: Exchange) -> None:
        try:
            await exchange.read()
        except RequestError as error:
            raise (ExceptionGroup("", [error]) if grouped else error) from None

    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n?"
    with caplog.at_level(logging.DEBUG):
        assert (await answer_to(handler, data + b"\r\n")).startswith(b"HTTP/1.1 400 ")
    assert not caplog.records


async def test_a_cancelled_write_never_lets_more_follow(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.start(200)
        with trio.move_on_after(1):
            await exchange.write(b"x" * 1000)
        talk.transport.take(None)
        with pytest.raises(ClientGone):
            await exchange.finish()

    async with conversation(handler, room=300) as talk:
        talk.say(GET * 2)
        await talk.over.wait()
        assert talk.transport.aborted
        assert len(talk.transport.sent) == 300
        assert autojump_clock.rate == 0.0


# clocks


@cut
async def test_the_header_deadline_is_absolute(
    piece: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with conversation(hi, piece=piece) as talk:
        for each in GET[:20]:
            talk.say(bytes([each]))
            await trio.sleep(0.9)
            if talk.transport.sent:
                break
        assert 9.5 <= trio.current_time() <= 11.5
        assert (await talk.hear()).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        await talk.over.wait()
        assert autojump_clock.rate == 0.0


async def test_a_second_head_has_its_own_deadline(autojump_clock: trio.testing.MockClock) -> None:
    async with conversation(hi) as talk:
        talk.say(GET)
        await trio.sleep(60)
        talk.say(GET[:5])
        await trio.sleep(9)
        talk.say(GET[5:] + GET[:5])
        assert await talk.hear() == OK * 2
        await trio.sleep(9)
        talk.say(b"/")
        await trio.sleep(2)
        assert (await talk.hear()).startswith(b"HTTP/1.1 408 ")
        assert autojump_clock.rate == 0.0


async def test_no_request_at_all_is_a_408(autojump_clock: trio.testing.MockClock) -> None:
    async with conversation(hi) as talk:
        await talk.over.wait()
        assert 11.5 <= trio.current_time() <= 12.6  # with the lingering
        assert (await talk.hear()).startswith(b"HTTP/1.1 408 ")
        assert autojump_clock.rate == 0.0


async def test_an_idle_connection_is_closed_without_a_word(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with conversation(hi) as talk:
        talk.say(GET + b"\r\n")
        assert await talk.hear() == OK
        await trio.sleep(74)
        assert talk.state() == "open"
        await trio.sleep(2)
        assert talk.state() == "half-closed"
        await talk.over.wait()
        assert await talk.hear() == b""
        assert autojump_clock.rate == 0.0


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_a_stalled_body_is_a_408(
    framing: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with conversation(echo) as talk:
        talk.say(b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing)
        await trio.sleep(29)
        talk.say(b"1")
        await trio.sleep(29)
        assert await talk.hear() == b""
        await trio.sleep(2)
        assert (await talk.hear()).startswith(b"HTTP/1.1 408 ")
        assert autojump_clock.rate == 0.0


async def test_a_client_that_does_not_read_is_aborted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sent = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.start(200)
        while True:
            await exchange.write(b"x" * 1000)
            sent += 1

    async with conversation(handler, room=10_000) as talk:
        talk.say(GET)
        await trio.sleep(29)
        talk.transport.take(5000)
        await trio.sleep(29)
        assert talk.state() == "open"
        assert sent <= 15
        await trio.sleep(2)
        assert talk.state() == "aborted"
        await talk.over.wait()
        assert autojump_clock.rate == 0.0


async def test_a_tick_that_comes_late_is_not_the_clients_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with conversation(hi) as talk:
        await trio.sleep(1)
        talk.server.tick(trio.current_time() + 1000)
        await trio.testing.wait_all_tasks_blocked()
        assert not talk.transport.sent
        talk.say(GET)
        assert await talk.hear() == OK
        assert autojump_clock.rate == 0.0


# draining


async def test_a_busy_connection_drains_with_its_response() -> None:
    gate = trio.Event()

    async def handler(exchange: Exchange) -> None:
        await gate.wait()
        assert exchange.draining
        await hi(exchange)

    async with conversation(handler) as talk:
        talk.say(GET)
        assert await talk.hear() == b""
        talk.server.drain()
        gate.set()
        assert await talk.hear() == OK_CLOSE
        assert talk.transport.half_closed


@pytest.mark.parametrize("used", [False, True])
async def test_an_idle_connection_may_bring_one_more_request(
    used: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with conversation(hi) as talk:
        if used:
            talk.say(GET)
            assert await talk.hear() == OK
        await trio.sleep(5)
        talk.server.drain()
        talk.server.drain()
        await trio.sleep(0.5)
        talk.say(GET[:5])
        await trio.sleep(3)  # it has begun: it gets the time that every head gets
        talk.say(GET[5:])
        assert await talk.hear() == OK_CLOSE
        talk.transport.feed_eof()
        await talk.over.wait()
        assert talk.server.connections == 0
        assert autojump_clock.rate == 0.0


@pytest.mark.parametrize("used", [False, True])
async def test_an_idle_connection_that_brings_nothing_is_closed(
    used: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with conversation(hi) as talk:
        if used:
            talk.say(GET)
            await talk.hear()
        await trio.sleep(5)
        talk.server.drain()
        await trio.sleep(1.5)
        assert talk.transport.half_closed
        assert await talk.hear() == b""
        assert autojump_clock.rate == 0.0


@pytest.mark.parametrize("used", [False, True])
async def test_after_a_drain_that_was_taken_back_connections_stay(
    used: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with conversation(hi) as talk:
        if used:
            talk.say(GET)
            assert await talk.hear() == OK
        talk.server.drain()
        await trio.sleep(0.5)  # within the second of the drain, by a clock that jumps
        talk.server.resume()
        talk.server.resume()
        await trio.sleep(3)  # and after it
        talk.say(GET)
        assert await talk.hear() == OK
        assert not talk.transport.half_closed
        assert autojump_clock.rate == 0.0


@pytest.mark.parametrize("used", [False, True])
async def test_a_request_that_comes_as_the_time_ends_is_answered(
    used: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with conversation(hi) as talk:
        if used:
            talk.say(GET)
            assert await talk.hear() == OK
        await trio.sleep(5)
        talk.server.drain()
        talk.server.tick(trio.current_time() + 2)  # the end is on its way to the connection
        talk.say(GET)
        assert await talk.hear() == OK_CLOSE
        assert autojump_clock.rate == 0.0


# the client leaves


async def test_a_handler_can_wait_for_the_client_to_leave() -> None:
    left = trio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.wait_gone()
        left.set()
        raise ClientGone

    async with conversation(handler) as talk:
        talk.say(GET)
        await talk.hear()
        assert talk.state() == "open"
        talk.transport.reset()
        await talk.over.wait()
        assert left.is_set()


async def test_a_half_closed_client_with_requests_left_has_not_left() -> None:
    async def handler(exchange: Exchange) -> None:
        with trio.move_on_after(0.01) as scope:
            await exchange.wait_gone()
        assert scope.cancelled_caught
        await hi(exchange)

    async def last(exchange: Exchange) -> None:
        await exchange.wait_gone()
        await hi(exchange)

    requests = 0

    async def both(exchange: Exchange) -> None:
        nonlocal requests
        requests += 1
        await (handler if requests == 1 else last)(exchange)

    assert await answer_to(both, GET * 2) == OK * 2


async def test_aborting_wakes_whoever_waits() -> None:
    async def handler(exchange: Exchange) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange.wait_gone)
            await trio.testing.wait_all_tasks_blocked()
            exchange.abort()

    async with conversation(handler) as talk:
        talk.say(GET)
        await talk.over.wait()
        assert talk.transport.aborted


# anything at all


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [GET, CLOSE, post(b"hello"), GET[:-2], b"\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n",
                 b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"]
            ),
            st.binary(max_size=20),
        ),
        max_size=6,
    ).map(b"".join)
)  # fmt: skip
def test_any_bytes_get_the_same_documented_answers_however_they_are_cut(data: bytes) -> None:
    async def main() -> None:
        answers = [await answer_to(echo, data, piece=piece) for piece in (*CUTS, 7)]
        assert answers[0] == answers[1] == answers[2]
        statuses = [int(each[:3]) for each in answers[0].split(b"HTTP/1.1 ")[1:]]
        assert set(statuses) <= {200, 100, 400, 413, 414, 417, 431, 501, 505}
        assert all(status < 400 for status in statuses[:-1])

    trio.run(main)
