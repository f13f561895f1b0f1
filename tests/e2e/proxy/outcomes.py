"""What becomes of a cell: which requests the upstream gets, and whether they are what was sent."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

import h11

from tests.e2e.proxy.message import Mismatch, read_message
from tests.e2e.proxy.talk import DEADLINE, Talk, connect

if TYPE_CHECKING:
    from tests.e2e.proxy.cells import Cell
    from tests.e2e.proxy.doors import Stage
    from tests.e2e.proxy.message import Message
    from tests.e2e.proxy.talk import End

__all__ = ["check_unambiguous", "outcome", "probe"]

WAITS = "waits"
"""The outcome where the proxy waits for more than there is."""
PROBE = b"GET /probe HTTP/1.1\r\nHost: a\r\n\r\n"
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# No parser that anybody uses reads such a head in another way.
PLAIN_HEAD = re.compile(
    rb"%b [\x21-\x7e]+ HTTP/1\.1\r\n(?:%b: [\t\x20-\x7e\x80-\xff]*\r\n)+\r\n" % (TOKEN, TOKEN)
).fullmatch
PLAIN_LENGTH = re.compile(rb"[0-9]{1,18}").fullmatch


def outcome(stage: Stage, cell: Cell, *, patience: float = DEADLINE) -> str:
    """Send a cell, answer what comes of it, and name that.

    Raises:
        Mismatch: an answer went to another request than its own.
    """
    door, upstream = stage
    upstream.renew(door.port)
    with closing(Talk(connect(door.port), upstream, patience)) as talk:
        requests: list[Message] = []

        def over() -> bool:
            requests.extend(_answer(upstream.ends))
            return talk.client.ended

        talk.client.say(cell.data)
        try:
            talk.wait(over, "the end at the client")
        except Mismatch:
            end = [WAITS]
        else:
            end = []
        talk.look()
        requests.extend(_answer(upstream.ends))
        names = [_target(request).decode("latin-1").lstrip("/") for request in requests]
        echoes, error = _answers(talk.client.log)
    if echoes != [_target(request) for request in requests[: len(echoes)]]:
        raise Mismatch(f"{cell.id}: the client got the answers {echoes} to {names}")
    return ", ".join(names + (["refused"] if error else []) + end)


def probe(stage: Stage) -> None:
    """Another client is not concerned: its request comes as it was sent, and it has its answer."""
    door, upstream = stage
    with closing(Talk(connect(door.port), upstream)) as talk:
        talk.client.say(PROBE)
        requests: list[Message] = []

        def answered() -> bool:
            requests.extend(_answer(upstream.ends))
            return b"/probe" in talk.client.seen

        talk.wait(answered, "the answer to another client")
    assert [_target(request) for request in requests] == [b"/probe"]


def check_unambiguous(stage: Stage) -> None:
    """All that the upstream has got reads in one way: ours by the letter, and h11's.

    A request that breaks off is the client's /first, whose body went wrong on the way.
    """
    for end in stage.upstream.ends:
        parser = h11.Connection(h11.SERVER)
        parser.receive_data(end.log)
        rest = end.log
        while (request := read_message(rest, method=None, ended=False)) is not None:
            rest = rest[len(request.raw) :]
            head = request.raw[: request.raw.index(b"\r\n\r\n") + 4]
            assert PLAIN_HEAD(head), head
            lengths, codings = (
                request.values(b"content-length"), request.values(b"transfer-encoding"),
            )  # fmt: skip
            assert len(lengths) + len(codings) <= 1, head
            assert all(PLAIN_LENGTH(each) for each in lengths), head
            assert all(each == b"chunked" for each in codings), head
            assert len(request.values(b"host")) == 1, head
            assert _by_h11(parser) == (_target(request), request.body)
        assert not rest or re.match(rb"(?:POST|GET|DELETE) /first ", rest), rest


def _by_h11(parser: h11.Connection) -> tuple[bytes, bytes]:
    event = parser.next_event()
    assert isinstance(event, h11.Request)
    body = b""
    while not isinstance(part := parser.next_event(), h11.EndOfMessage):
        assert isinstance(part, h11.Data)
        body += part.data
    parser.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
    parser.send(h11.EndOfMessage())
    parser.start_next_cycle()
    return event.target, body


def _answer(ends: list[End]) -> list[Message]:
    """Answer each request with its own target."""
    found = []
    for end in ends:
        while not end.reset and (request := end.take(method=None)) is not None:
            target = _target(request)
            end.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))
            found.append(request)
    return found


def _target(request: Message) -> bytes:
    target = request.line.split(b" ")[1]
    return target.removeprefix(b"http://a")


def _answers(log: bytes) -> tuple[list[bytes], bool]:
    """The echoes that the client has got, and whether an error followed."""
    echoes: list[bytes] = []
    while (response := read_message(log, method=b"GET", ended=True)) is not None:
        log = log[len(response.raw) :]
        if response.status >= 400:
            return echoes, True
        if response.status == 200:
            echoes.append(response.body)
    return echoes, False
