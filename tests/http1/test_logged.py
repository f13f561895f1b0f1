"""What the engine tells the access log, over connections in memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from balancer.core.logrecord import ABORTED, CLOSED, KEPT
from balancer.core.requestid import RequestIds
from balancer.http1 import Exchange, Http1Config
from tests.http1.fakes import CUTS, answer_to, conversation

if TYPE_CHECKING:
    from balancer.core.logrecord import Answer, Record
    from balancer.http1 import Handler

GET = b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Notes:
    """A sink that keeps everything."""

    wants_heads = True

    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(self, record: Record) -> None:
        self.records.append(record)

    def flush(self) -> None:
        raise AssertionError("there are never so many here")

    @property
    def answers(self) -> list[Answer]:
        return [answer for _, answer, *_ in self.records]

    @property
    def brief(self) -> list[tuple[str, int, int, str]]:
        """Method and target, status, bytes of the body, and how it ended."""
        found = []
        for request, answer, seconds, _, peer, end in self.records:
            assert seconds >= 0
            assert peer == ("203.0.113.9", 4711)
            line = "-" if request is None else f"{request.method} {request.target.decode()}"
            found.append((line, answer.status, answer.body_bytes, end))
        return found


def logging(notes: Notes, **more: int) -> Http1Config:
    ids = RequestIds("w-", frozenset({"203.0.113.9"}))
    return Http1Config(access=notes, ids=ids, **more)


async def talk_to(handler: Handler, data: bytes, piece: int = 1 << 30) -> Notes:
    notes = Notes()
    await answer_to(handler, data, piece=piece, config=logging(notes))
    return notes


async def hi(exchange: Exchange) -> None:
    await exchange.respond(200, ((b"X-A", b"b"),), b"hello")


@pytest.mark.parametrize("piece", CUTS)
async def test_one_record_per_response(piece: int) -> None:
    notes = await talk_to(hi, GET * 2 + CLOSE, piece)
    assert notes.brief == [
        ("GET /a?b", 200, 5, KEPT),
        ("GET /a?b", 200, 5, KEPT),
        ("GET /", 200, 5, CLOSED),
    ]
    assert b"\r\nX-A: b\r\nContent-Length: 5\r\n" in notes.answers[0].sent_head


async def test_bodies_are_counted_without_framing() -> None:
    async def streams(exchange: Exchange) -> None:
        length = ((b"Content-Length", b"5"),) if b"length" in exchange.target else ()
        await exchange.start(200, length)
        await exchange.write(b"")
        await exchange.write(b"he")
        await exchange.write(b"llo")
        await exchange.finish()

    head = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
    notes = await talk_to(streams, head % b"length" + head % b"chunked")
    assert [answer.body_bytes for answer in notes.answers] == [5, 5]


async def test_responses_without_a_body() -> None:
    async def bodiless(exchange: Exchange) -> None:
        await exchange.respond(204 if exchange.method == "GET" else 200, (), b"")

    async def head(exchange: Exchange) -> None:
        await exchange.respond(200, (), b"hello")

    assert (await talk_to(bodiless, GET)).brief == [("GET /a?b", 204, 0, KEPT)]
    asked = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert (await talk_to(head, asked)).brief == [("HEAD /", 200, 0, KEPT)]


async def test_refusals() -> None:
    assert (await talk_to(hi, b"GET /\0 HTTP/1.1\r\n\r\n")).brief == [("-", 400, 71, CLOSED)]
    notes = Notes()
    large = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    await answer_to(hi, GET + large, config=logging(notes, max_body=5))
    assert [each[:2] for each in notes.brief] == [("GET /a?b", 200), ("POST /x", 413)]


async def test_a_request_that_never_came(autojump_clock: trio.testing.MockClock) -> None:
    notes = Notes()
    async with conversation(hi, config=logging(notes)) as talk:
        await talk.over.wait()
    assert [each[:2] for each in notes.brief] == [("-", 408)]
    assert autojump_clock.autojump_threshold == 0


async def test_a_connection_without_a_request_is_no_line() -> None:
    assert not (await talk_to(hi, b"")).records


async def test_a_client_that_left() -> None:
    async def reads(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.read()

    notes = await talk_to(reads, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    assert notes.brief == [("POST /", 499, 0, ABORTED)]


async def test_a_response_that_broke_off() -> None:
    async def breaks(exchange: Exchange) -> None:
        await exchange.start(200)
        await exchange.write(b"abc")
        raise ZeroDivisionError

    assert (await talk_to(breaks, GET)).brief == [("GET /a?b", 200, 3, ABORTED)]


async def test_what_is_cut_at_the_end_has_a_line() -> None:
    async def sleeps(exchange: Exchange) -> None:
        if b"a" in exchange.target:
            await exchange.start(200)
            await exchange.write(b"x")
        await trio.sleep_forever()

    for data, expected in ((GET, ("GET /a?b", 200, 1)), (CLOSE, ("GET /", 0, 0))):
        notes = Notes()
        async with conversation(sleeps, config=logging(notes)) as talk:
            talk.say(data)
            await talk.hear()
        assert notes.brief == [(*expected, ABORTED)]


async def test_a_tunnel_has_one_line_at_its_end() -> None:
    async def tunnels(exchange: Exchange) -> None:
        await exchange.upgrade(((b"Connection", b"upgrade"), (b"Upgrade", b"x")))
        await opened.wait()

    opened = trio.Event()
    notes = Notes()
    async with conversation(tunnels, config=logging(notes)) as talk:
        talk.say(b"GET /t HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        assert b" 101 " in await talk.hear()
        assert not notes.records
        opened.set()
        await talk.over.wait()
    assert notes.brief == [("GET /t", 101, 0, CLOSED)]


# request ids


async def fails(_: Exchange) -> None:
    raise ZeroDivisionError("secret")


async def test_a_500_names_the_request(caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()
    answer = await answer_to(fails, GET, config=logging(notes))
    assert b"\r\nX-Request-ID: w-1\r\n" in answer
    assert answer.endswith(b"the server failed to answer this request (request w-1)\n")
    assert "the handler failed on GET /a?b (request w-1)" in caplog.text
    assert notes.answers[0].request_id == "w-1"
    assert notes.brief == [("GET /a?b", 500, len(answer.partition(b"\r\n\r\n")[2]), CLOSED)]


async def test_without_a_log_too(caplog: pytest.LogCaptureFixture) -> None:
    config = Http1Config(ids=RequestIds("w-"))
    asked = GET.replace(b"GET", b"HEAD")
    assert (await answer_to(fails, asked, config=config)).endswith(b"close\r\n\r\n")
    assert "(request w-1)" in caplog.text
    answer = await answer_to(hi, b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", config=config)
    assert b"\r\nX-Request-ID: w-2\r\n" in answer
    refused = await answer_to(hi, b"GET / HTTP/1.1\r\n\r\n", config=config)
    assert b"X-Request-ID" not in refused


@pytest.mark.parametrize(
    ("peer", "said", "expected"),
    [
        ("203.0.113.9", b"abc-1", r"abc-1"),
        ("203.0.113.9", b"not well formed", r"w-1"),
        ("198.51.100.1", b"abc-1", r"w-1"),
    ],
)
async def test_whose_id_it_is(peer: str, said: bytes, expected: str) -> None:
    async def shows(exchange: Exchange) -> None:
        assert exchange.request_id == exchange.request_id
        await exchange.respond(200, (), exchange.request_id.encode())

    config = Http1Config(ids=RequestIds("w-", frozenset({peer})))
    asked = b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: %b\r\n\r\n" % said
    answer = await answer_to(shows, asked, config=config)
    assert re.search(expected + "$", answer.decode())


async def test_every_request_has_its_own() -> None:
    async def shows(exchange: Exchange) -> None:
        await exchange.respond(200, (), exchange.request_id.encode())

    answer = await answer_to(shows, GET * 3, config=Http1Config(ids=RequestIds("w-")))
    assert re.findall(rb"w-.", answer) == [b"w-1", b"w-2", b"w-3"]
