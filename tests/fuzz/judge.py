"""Verdicts over outcomes: sentences about what is wrong, or none.

A client's stream, read by the oracle, is the intent.  What reached upstreams is read by the oracle
as well, and by h11 as a server; all must agree.  ``llhttp`` reads the same bytes later, in batches.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import h11

from tests.fuzz.oracle import Answer, Asked, Ill, read_answer, read_requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.bench import Outcome, Script

__all__ = ["Message", "judge_reply", "judge_requests", "messages", "status_counts"]

STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ").findall
Fields = list[tuple[bytes, bytes]]
Message = tuple[bytes, bytes, Fields, bytes, Fields, bool]
"""Method, target, fields with names in lower case, body, trailers, and whether it is complete."""

# Fields that a proxy writes itself or must not pass on (RFC 9110 7.6.1, 7.6.3, RFC 7239)
OURS = {
    b"host", b"via", b"connection", b"te", b"x-forwarded-for", b"x-forwarded-proto",
    b"x-forwarded-host", b"x-forwarded-port", b"forwarded", b"x-request-id", b"content-length",
    b"transfer-encoding", b"upgrade",
}  # fmt: skip
STAY = OURS | {
    b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"trailer",
    b"expect", b"http2-settings", b"proxy-authentication-info",
}  # fmt: skip
DASHES = bytes.maketrans(b"_.", b"--")
END_TO_END = {b"authorization", b"content-type", b"cookie"}
END_TO_END_OF_ANSWERS = {
    b"authorization", b"cache-control", b"content-encoding", b"content-range", b"content-type",
    b"date", b"location", b"set-cookie", b"vary", b"www-authenticate",
}  # fmt: skip
NEVER_IN_TRAILERS = STAY | {b"authorization", b"content-type", b"content-encoding", b"cookie"}


def messages(requests: list[Asked]) -> list[Message]:
    """In the form that the other parsers are compared in."""
    return [
        (each.method, each.origin, each.fields, each.body, each.trailers, each.complete)
        for each in requests
    ]


def judge_requests(client: bytes, outcome: Outcome) -> Iterator[str]:
    """What is wrong with what became of a client's stream."""
    yield from outcome.complaints
    intent = read_requests(client)
    at = 0
    answered: list[Asked] = []
    for upstream in outcome.upstreams:
        stream, requests = b"".join(upstream.pieces), upstream.requests
        if upstream.late and not upstream.reset:
            yield "the proxy waits for an answer to what is no request"
        said = messages(requests)
        if said != (heard := read_by_h11(stream)):
            yield f"h11 reads {heard!r} where the oracle reads {said!r}"
        for number, got in enumerate(requests):
            while at < len(intent) and _is_last_hop(intent[at]):
                answered.append(intent[at])
                at += 1
            if at >= len(intent):
                yield f"nobody has sent {got!r}"
                return
            yield from _compare(intent[at], got)
            if upstream.reset and number == upstream.answered:
                continue  # it is sent again, or was the last
            answered.append(got)
            at += 1
    while at < len(intent) and _is_last_hop(intent[at]):
        answered.append(intent[at])
        at += 1
    yield from _judge_answers(outcome, answered)


def _is_last_hop(asked: Asked) -> bool:
    """Whether it is the proxy that has to answer (RFC 9110 7.6.2)."""
    if asked.method != b"OPTIONS" or b"max-forwards" in _nominated(asked.fields):
        return False
    said = [value for name, value in asked.fields if name == b"max-forwards"]
    hops = [int(value) for value in said if value.isdigit() and len(value) <= 18]
    return hops[:1] == [0]


def _compare(meant: Asked, got: Asked) -> Iterator[str]:
    if (meant.method, meant.origin) != (got.method, got.origin):
        yield f"{meant.method!r} {meant.origin!r} became {got.method!r} {got.origin!r}"
    if (meant.host or b"") != got.host:
        yield f"the host {meant.host!r} became {got.host!r}"
    if meant.chunked != got.chunked or (not meant.chunked and meant.length != got.length):
        yield "the framing is another"
    if got.complete:
        if not meant.complete or meant.body != got.body:
            yield f"the body {meant.body!r} ({meant.complete}) became {got.body!r}"
    elif not meant.body.startswith(got.body):
        yield f"the body {meant.body!r} became {got.body!r}, and more to come"
    others = [each for each in got.fields if each[0] not in OURS]
    said = meant.fields
    if meant.method == b"OPTIONS":  # one hop fewer
        others = [each for each in others if each[0] != b"max-forwards"]
        said = [each for each in said if each[0] != b"max-forwards"]
    yield from _compare_fields(said, others, END_TO_END)
    for name, _ in others:
        if name in STAY or name.translate(DASHES) in STAY:
            yield f"{name!r} was passed on"
    for name, value in got.fields:
        if name == b"upgrade" and {b"h2c", b"h2"} & set(value.lower().split(b", ")):
            yield "HTTP/2 was offered"
    trailers = list(meant.trailers)
    for each in got.trailers:
        if each[0] in NEVER_IN_TRAILERS or each not in trailers:
            yield f"{each!r} may not be a trailer, or was none"


def _compare_fields(meant: Fields, got: Fields, end_to_end: set[bytes]) -> Iterator[str]:
    """``got`` is ``meant`` in its order, without what a hop keeps for itself.

    ``end_to_end`` are the fields that a nomination may not take away.
    """
    nominated = _nominated(meant) - end_to_end
    for name, _ in got:
        if name in nominated:
            yield f"{name!r} was passed on, though Connection names it"
    rest = iter(got)
    expected = next(rest, None)
    for each in meant:
        if each == expected:
            expected = next(rest, None)
        elif each[0] not in STAY | nominated and each[0].translate(DASHES) not in STAY:
            yield f"the field {each!r} was lost"
    if expected is not None:
        yield f"nobody has sent the field {expected!r}"


def _nominated(fields: Fields) -> set[bytes]:
    return {
        option.strip(b" \t").lower()
        for name, value in fields
        if name == b"connection"
        for option in value.split(b",")
    }


def _judge_answers(outcome: Outcome, answered: list[Asked]) -> Iterator[str]:
    """Each answer belongs to its request; at most one of ours follows."""
    heard = outcome.heard
    for asked in answered:
        try:
            answer = read_answer(heard, asked.method)
        except Ill:
            if heard and not outcome.aborted:
                yield f"the client got {heard!r}"
            return
        heard = heard[answer.size :]
        own = asked.method == b"HEAD" or _is_last_hop(asked)
        expected = b"" if own else asked.method + b" " + asked.origin
        if answer.status != 200:
            # whom we answer ourselves we may also refuse: for its size, its Expect, its Via
            if asked.complete and not outcome.failures and not _is_last_hop(asked):
                yield f"a good request got {answer.status}"
            break
        if answer.body != expected or not answer.whole:
            yield f"{asked.method!r} {asked.origin!r} got {answer.body!r}"
    if heard:
        try:
            last = read_answer(heard, b"GET")
        except Ill:
            if not outcome.aborted:
                yield f"behind the answers came {heard!r}"
        else:
            if last.status < 400 or last.size < len(heard):
                yield f"behind the answers came {heard!r}"
            if last.status == 500:
                yield "the server failed"


def read_by_h11(stream: bytes) -> list[Message]:
    """What h11 as a server reads; a last message without a method says where it gave up."""
    found: list[Message] = []
    while stream:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        connection.receive_data(stream)
        method = target = body = b""
        fields: Fields = []
        trailers: Fields = []
        complete = False
        try:
            while (event := connection.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Request):
                    method, target, fields = event.method, event.target, list(event.headers)
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    trailers, complete = list(event.headers), True
                    break
        except h11.RemoteProtocolError as error:
            method, target = b"", str(error).encode()
        if method or target:
            found.append((method, target, fields, body, trailers, complete))
        if not complete:
            return found
        stream = connection.trailing_data[0]
    return found


def status_counts(heard: bytes) -> list[int]:
    """The statuses of the lines that look like a status line."""
    return [int(each) for each in STATUS(heard)]


# -- the other direction ------------------------------------------------------------------------


def judge_reply(
    method: bytes, version: bytes, script: Script, outcome: Outcome, *, upgrade: bool
) -> Iterator[str]:
    """What is wrong with what became of an upstream's answer."""
    yield from outcome.complaints
    said = b"".join(script.pieces)
    try:
        meant: Answer | None = read_answer(said, method)
    except Ill:
        meant = None
    asked = outcome.upstreams[0]
    reused = len(asked.starts) > 1 and not (meant and meant.status == 101)
    if reused and not (meant and meant.whole and meant.size == len(said) and not meant.until_end):
        yield "the connection was used again, though its answer was not in order"
    answers = _read_as_client(outcome.heard, [method, b"GET"], upgrade=upgrade)
    first = next(answers, None)
    if first is None:
        if not outcome.aborted:
            yield f"the client got {outcome.heard!r}"
        return
    status, fields, body, whole, interim, rest = first
    framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in fields)
    if not (whole or outcome.aborted or framed or status == 101):
        yield "a cut answer looks complete"  # in a framing its end shows it, else only a reset
    whole = whole and not outcome.aborted
    if status in {502, 504} and any(name == b"x-request-id" for name, _ in fields):  # ours
        yield from _judge_second(answers, outcome)
        return
    if not said and script.ends:
        return  # nothing was answered, so it was tried again
    if meant is None:
        yield f"an ill answer became {status} {body!r}"
        return
    if status == 101:
        if not upgrade or meant.status != 101 or rest != said[meant.size :]:
            yield f"a tunnel with {rest!r}"
        return
    if meant.status != status:
        yield f"{meant.status} became {status}"
    if whole and (not meant.whole or meant.body != body):
        yield f"the body {meant.body!r} ({meant.whole}) became {body!r}"
    if not meant.body.startswith(body):
        yield f"the body {meant.body!r} became {body!r}, cut"
    if version == b"HTTP/1.1" and interim != meant.interim:
        yield f"interim {meant.interim} became {interim}"
    if version == b"HTTP/1.0" and interim:
        yield "an HTTP/1.0 client got an interim response"
    if fields and fields[-1] in {(b"via", b"1.1 balancer"), (b"via", b"1.0 balancer")}:
        fields.pop()
    ours = {b"content-length", b"transfer-encoding", b"connection", b"date", b"via", b"upgrade"}
    yield from _compare_fields(
        [each for each in meant.fields if each[0] not in ours - {b"connection"}],
        [each for each in fields if each[0] not in ours],
        END_TO_END_OF_ANSWERS,
    )
    yield from _judge_second(answers, outcome)


Seen = tuple[int, Fields, bytes, bool, list[int], bytes]


def _judge_second(answers: Iterator[Seen], outcome: Outcome) -> Iterator[str]:
    second = next(answers, None)
    if second is None:
        return
    status, _, body, whole, _, rest = second
    if status == 200 and (body != b"GET /second" or not whole or rest):
        yield f"the second answer is {body!r}, {rest!r}"
    if status != 200 and (status < 500 or not outcome.failures):
        yield f"the second answer is {status}"


def _read_as_client(heard: bytes, methods: list[bytes], *, upgrade: bool) -> Iterator[Seen]:
    """Status, fields, body, wholeness, interim statuses and the rest, by h11 as a client."""
    for method in methods:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        offer = [("Connection", "upgrade"), ("Upgrade", "x")] if upgrade else []
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "h"), *offer]))
        connection.send(h11.EndOfMessage())
        if heard:
            connection.receive_data(heard)
        connection.receive_data(b"")
        interim: list[int] = []
        status, body, whole = 0, b"", False
        fields: Fields = []
        try:
            while True:
                event = connection.next_event()
                if isinstance(event, h11.InformationalResponse):
                    if event.status_code == 101:
                        trailing = connection.trailing_data[0]
                        yield 101, list(event.headers), b"", True, interim, trailing
                        return
                    interim.append(event.status_code)
                elif isinstance(event, h11.Response):
                    status, fields = event.status_code, list(event.headers)
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    whole = True
                    break
                else:
                    break
        except h11.RemoteProtocolError:
            pass
        heard = connection.trailing_data[0]
        if not status:
            return
        yield status, fields, body, whole, interim, heard
        if not whole:
            return
        upgrade = False
