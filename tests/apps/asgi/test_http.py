"""One request's conversation: what an app receives, what it may send, and when it may not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import h11
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.http1 import Http1Config, MisuseError
from tests.apps.asgi.support import GET, START, ask, handler
from tests.http1.fakes import CUTS, conversation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from balancer.apps.asgi import AsgiApp
    from balancer.apps.asgi.types import Message, Receive, Scope, Send
    from tests.http1.fakes import Conversation

cut = pytest.mark.parametrize("piece", CUTS, ids=["whole", "bytewise"])
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
)


def start(status: int = 200, *headers: tuple[bytes, bytes], trailers: bool = False) -> Message:
    return {
        "type": "http.response.start",
        "status": status,
        "headers": list(headers),
        "trailers": trailers,
    }


def body(data: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def sending(*messages: Message) -> AsgiApp:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


async def hear(talk: Conversation, end: bytes) -> None:
    """Hear a response, whose app waits for quiet as we do."""
    heard = b""
    with trio.fail_after(1):
        while not heard.endswith(end):
            heard += await talk.hear()


async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
    data = b""
    more = True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        data += message["body"]
        more = message["more_body"]
    await send(START)
    await send(body(data))


# receive


@cut
@pytest.mark.parametrize("request_", [POST, CHUNKED], ids=["length", "chunked"])
async def test_a_body_is_received(request_: bytes, piece: int) -> None:
    assert (await ask(echo, request_, piece=piece)).body == b"hello"


async def test_without_a_body_there_is_one_empty_message() -> None:
    seen: list[Message] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        await send(START)
        await send(body())
        seen.append(await receive())

    await ask(app)
    assert seen == [
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.disconnect"},
    ]


async def test_a_body_comes_as_it_comes() -> None:
    seen: list[Message] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        while not seen or seen[-1]["more_body"]:
            seen.append(await receive())
        await send(START)
        await send(body())

    async with conversation(handler(app)) as talk:
        talk.say(POST[:-2])
        await talk.hear()
        assert seen == [{"type": "http.request", "body": b"hel", "more_body": True}]
        talk.say(b"lo")
        await talk.hear()
        assert seen[1:] == [{"type": "http.request", "body": b"lo", "more_body": False}]


async def test_100_continue_is_sent_when_the_app_reads() -> None:
    request = POST.replace(b"\r\n\r\nhello", b"\r\nExpect: 100-continue\r\n\r\n")
    async with conversation(handler(echo)) as talk:
        talk.say(request)
        assert await talk.hear() == b"HTTP/1.1 100 Continue\r\n\r\n"
        talk.say(b"hello")
        assert (await talk.hear()).endswith(b"hello")


async def test_a_client_that_leaves_is_a_disconnect(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Message] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        seen.append(await receive())
        with pytest.raises(OSError, match="gone"):
            await send(START)
        seen.append(await receive())  # and again, at once
        raise ClientDisconnect

    async with conversation(handler(app)) as talk:
        talk.say(GET)
        await talk.hear()
        talk.transport.feed_eof()
        await talk.over.wait()
    assert seen == [{"type": "http.disconnect"}] * 2
    assert not caplog.records


class ClientDisconnect(Exception):  # noqa: N818 - Starlette's name
    pass


async def test_a_real_error_after_a_disconnect_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        await receive()
        raise KeyError("mine")

    async with conversation(handler(app)) as talk:
        talk.say(GET)
        talk.transport.feed_eof()
        await talk.over.wait()
    assert "the handler failed" in caplog.text


async def test_a_client_that_resets_while_it_is_sent_to() -> None:
    failed = trio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        try:
            while True:
                await send(body(b"x" * 10, more=True))
        except OSError:
            failed.set()
            raise

    async with conversation(handler(app), room=200) as talk:
        talk.say(GET)
        await talk.hear()
        talk.transport.reset()
        await failed.wait()
        await talk.over.wait()


async def test_receive_beside_send_ends_with_the_response() -> None:
    """What Starlette's streaming response does, and two tasks may."""
    seen: list[Message] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            seen.append(await receive())

        await receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked()
            await send(START)
            await send(body(b"a", more=True))
            await send(body(b"b"))

    async with conversation(handler(app)) as talk:
        for _ in range(2):  # and the connection goes on
            talk.say(GET)
            await hear(talk, b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
            # The last bytes of an answer come before those who listen beside it have heard.
            await trio.testing.wait_all_tasks_blocked()
    assert seen == [{"type": "http.disconnect"}] * 4


async def test_a_task_left_behind_is_told_that_it_is_over() -> None:
    heard: list[Message] = []
    refused: list[BaseException] = []

    async with trio.open_nursery() as elsewhere:

        async def app(_scope: Scope, receive: Receive, send: Send) -> None:
            async def stay() -> None:
                heard.append(await receive())
                try:
                    await send(body(b"late"))
                except MisuseError as error:
                    refused.append(error)

            await receive()
            elsewhere.start_soon(stay)
            await trio.testing.wait_all_tasks_blocked()
            await send(START)
            await send(body(b"on time"))

        async with conversation(handler(app)) as talk:
            for _ in range(2):
                talk.say(GET)
                await hear(talk, b"\r\n\r\non time")
    assert heard == [{"type": "http.disconnect"}] * 2
    assert len(refused) == 2


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (CHUNKED.replace(b"2\r\nhe", b"x\r\nhe"), 400),
        (CHUNKED.replace(b"2\r\nhe", b"fff\r\nhe"), 413),
    ],
    ids=["malformed", "too large"],
)
async def test_a_body_that_is_refused(request_: bytes, status: int) -> None:
    """The app hears that the client is gone; the client hears what it did."""
    seen: list[str] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            pass
        seen.append(message["type"])
        await send(start(500))
        await send(body(b"a framework's answer to whatever happens"))

    answer = await ask(app, request_, engine=Http1Config(max_body=100))
    assert answer.status == status
    assert seen == ["http.disconnect"]


# send


@cut
@pytest.mark.parametrize("request_", [GET, OLD])
async def test_one_body_has_a_length(request_: bytes, piece: int) -> None:
    answer = await ask(sending(start(201, (b"x-a", b"1")), body(b"hi")), request_, piece=piece)
    assert (answer.status, answer.fields["x-a"], answer.body) == (201, "1", b"hi")
    assert answer.fields["content-length"] == "2"


async def test_a_whole_response_is_one_send() -> None:
    async with conversation(handler(sending(START, body(b"hi")))) as talk:
        sends: list[bytes | memoryview] = []
        send = talk.transport.send_nowait

        def count(data: bytes | memoryview) -> int:
            sends.append(data)
            return send(data)

        talk.transport.send_nowait = count  # type: ignore[method-assign]
        talk.say(GET)
        await talk.hear()
    assert len(sends) == 1


async def test_pieces_are_chunks() -> None:
    answer = await ask(sending(START, body(b"a", more=True), body(b"", more=True), body(b"bc")))
    assert answer.fields["transfer-encoding"] == "chunked"
    assert answer.body == b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"


async def test_pieces_of_a_known_length() -> None:
    app = sending(start(200, (b"content-length", b"3")), body(b"a", more=True), body(b"bc"))
    answer = await ask(app)
    assert "transfer-encoding" not in answer.fields
    assert answer.body == b"abc"


async def test_pieces_for_an_old_client() -> None:
    answer = await ask(sending(START, body(b"a", more=True), body(b"bc")), OLD)
    assert answer.body == b"abc"
    assert answer.fields["connection"] == "close"


async def test_the_head_does_not_wait_for_the_body() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"", more=True))
        await trio.sleep_forever()

    async with conversation(handler(app)) as talk:
        talk.say(GET)
        assert (await talk.hear()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("more", [False, True])
async def test_head_has_no_body(more: bool) -> None:
    messages = [START, body(b"abc", more=more)] + ([body(b"d")] if more else [])
    answer = await ask(sending(*messages), HEAD)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_other_kinds_of_bytes(kind: Callable[[bytes], bytes]) -> None:
    assert (await ask(sending(START, body(kind(b"abc"))))).body == b"abc"


async def test_headers_may_be_lists_and_come_from_anywhere() -> None:
    headers = ([name, b"1"] for name in (b"a", b"b"))
    app = sending({"type": "http.response.start", "status": 200, "headers": headers}, body())
    fields = (await ask(app)).fields
    assert (fields["a"], fields["b"]) == ("1", "1")


async def test_trailers() -> None:
    trailers = {"type": "http.response.trailers"}
    app = sending(
        start(trailers=True),
        body(b"a"),
        {**trailers, "headers": [(b"x", b"1")], "more_trailers": True},
        {**trailers, "headers": [[b"y", b"2"]]},
    )
    assert (await ask(app)).body == b"1\r\na\r\n0\r\nx: 1\r\ny: 2\r\n\r\n"


async def test_a_file_is_sent_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 600_000)
    send_file = {"type": "http.response.pathsend", "path": str(path)}
    answer = await ask(sending(START, send_file))
    assert (answer.fields["content-length"], len(answer.body)) == ("600000", 600_000)
    head = await ask(sending(START, send_file), HEAD)
    assert (head.fields["content-length"], head.body) == ("600000", b"")


async def test_a_file_that_is_not_there() -> None:
    app = sending(START, {"type": "http.response.pathsend", "path": "/no/such/file"})
    assert (await ask(app)).status == 500


# what an app may not do

ILLEGAL: dict[str, tuple[list[Message], str]] = {
    "a body first": ([body(b"x")], "http.response.body was sent where http.response.start was due"),
    "an unknown message": ([{"type": "http.response.nonsense"}], "http.response.nonsense was sent"),
    "a websocket's": ([{"type": "websocket.accept"}], "websocket.accept was sent where"),
    "start twice": ([START, START], "http.response.start was sent where http.response.body, the"),
    "a body too many": ([START, body(), body(b"x")], "http.response.body was sent where nothing"),
    "trailers nobody announced": (
        [START, body(b"a", more=True), {"type": "http.response.trailers"}],
        "http.response.trailers was sent where http.response.body was due",
    ),
    "a file after a piece": (
        [START, body(b"a", more=True), {"type": "http.response.pathsend", "path": "/"}],
        "http.response.pathsend was sent where http.response.body was due",
    ),
    "no status": ([start(99)], "99 is no status"),
    "a status as text": ([start("200")], "'200' is no status"),  # type: ignore[arg-type]
    "an interim status": ([start(100)], "100 is no status"),
    "a str in the headers": ([start(200, ("a", b"b"))], "is a str"),  # type: ignore[arg-type]
    "a newline in a header": ([start(200, (b"a", b"b\r\nc: d"))], "control character"),
    "a header without a name": ([start(200, (b"", b"b"))], "no header name"),
    "a body that is text": ([START, body("x")], "not a str"),  # type: ignore[arg-type]
    "a longer body than announced": (
        [start(200, (b"content-length", b"1")), body(b"xy")],
        "Content-Length 1 for a body of 2 bytes",
    ),
    "a body where none may be": ([start(204), body(b"x")], "204 has no body"),
    "a trailer that can't be one": (
        [
            start(trailers=True),
            body(b"a"),
            {"type": "http.response.trailers", "headers": [(b"content-length", b"1")]},
        ],
        "may not be a trailer",
    ),
}


@pytest.mark.parametrize(("messages", "reason"), ILLEGAL.values(), ids=ILLEGAL.keys())
async def test_what_is_illegal_raises_in_the_app(messages: list[Message], reason: str) -> None:
    raised: list[str] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages[:-1]:
            await send(message)
        try:
            await send(messages[-1])
        except MisuseError as error:
            raised.append(str(error))

    await ask(app)
    assert len(raised) == 1
    assert reason in raised[0]


async def _raise(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise ValueError("mine")


async def _raise_early(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send(START)
    raise ValueError("mine")


async def _raise_midway(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"part", more=True))
    raise ValueError("mine")


async def _raise_late(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"all"))
    raise ValueError("mine")


@pytest.mark.parametrize(
    ("app", "says"),
    [
        (_raise, "ValueError: mine"),
        (_raise_early, "ValueError: mine"),
        (sending(), "the handler gave no response"),
        (sending(START), "the handler gave no response"),
    ],
    ids=["raises", "raises after start", "says nothing", "says only start"],
)
async def test_an_app_that_does_not_answer_is_a_500(
    app: AsgiApp, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await ask(app)).status == 500
    assert says in caplog.text


@pytest.mark.parametrize(
    "app",
    [
        _raise_midway,
        sending(START, body(b"part", more=True)),
        sending(start(200, (b"content-length", b"9")), body(b"part", more=True), body(b"!")),
        sending(start(200, (b"content-length", b"5")), body(b"part", more=True), body(b"rest!")),
    ],
    ids=["raises", "returns", "too short", "too long"],
)
async def test_a_response_that_breaks_off_is_cut(
    app: AsgiApp, caplog: pytest.LogCaptureFixture
) -> None:
    async with conversation(handler(app)) as talk:
        talk.say(GET * 2)
        await talk.over.wait()
        assert talk.state() == "aborted"
    assert talk.transport.sent.count(b"HTTP/1.1") == 1
    assert caplog.records


async def test_a_whole_response_of_a_wrong_length_is_a_500() -> None:
    app = sending(start(200, (b"content-length", b"9")), body(b"part"))
    assert (await ask(app)).status == 500


async def test_an_app_that_raises_after_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    answer = await ask(_raise_late, GET)
    assert (answer.status, answer.body) == (200, b"all")
    assert "ValueError: mine" in caplog.text


async def _wait(what: str) -> None:
    import asyncio

    if what == "sleep":
        await asyncio.sleep(1)
    elif what == "queue":
        await asyncio.Queue[int]().get()
    else:
        await asyncio.Event().wait()


@pytest.mark.parametrize("what", ["sleep", "queue", "event"])
async def test_an_app_that_needs_asyncio_is_told_in_one_sentence(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        try:
            await _wait(what)
        except Exception as error:
            raise ValueError("wrapped") from error

    with caplog.at_level(logging.INFO):
        assert (await ask(app)).status == 500
    (record,) = caplog.records
    assert "--engine uvicorn" in record.getMessage()
    assert f"at {__file__}:" in record.getMessage()
    assert "wrapped" not in record.getMessage()
    assert record.exc_info is None


async def test_who_is_cancelled_cuts_its_response() -> None:
    async with conversation(handler(_forever)) as talk:
        talk.say(GET)
        await talk.hear()
    assert talk.state() == "aborted"


async def _forever(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"part", more=True))
    await trio.sleep_forever()


# any sequence of messages

MESSAGES = st.one_of(
    st.builds(
        start,
        st.sampled_from([200, 204, 304, 404, 99, 1000]),
        st.sampled_from(
            [(b"content-length", b"3"), (b"x", b"y"), (b"bad name", b""), (b"x", b"\n")]
        ),
        trailers=st.booleans(),
    ),
    st.builds(body, st.binary(max_size=4), more=st.booleans()),
    st.just({"type": "http.response.trailers", "headers": [(b"x", b"1")]}),
    st.just({"type": "http.response.pathsend", "path": "/no/such/file"}),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(MESSAGES, max_size=6), st.sampled_from([GET, HEAD, OLD]), st.booleans())
def test_whatever_an_app_sends_the_wire_holds_responses(
    messages: list[Message], request_: bytes, gives_up: bool
) -> None:
    """Nothing, one response that a strict parser takes, or the beginning of one and a reset."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            try:
                await send(message)
            except MisuseError:
                if gives_up:
                    raise

    async def run() -> None:
        async with conversation(handler(app)) as talk:
            talk.say(request_)
            talk.transport.feed_eof()
            await talk.over.wait()
            sent, aborted = talk.transport.sent, talk.transport.aborted
        client = h11.Connection(h11.CLIENT)
        method, version = request_.split(b" ")[0], request_.split(b"\r\n")[0][-3:]
        client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        client.send(h11.EndOfMessage())
        client.receive_data(sent)
        if not aborted and version == b"1.0":
            client.receive_data(b"")
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                assert aborted
                return
            if isinstance(event, h11.EndOfMessage):
                assert not client.trailing_data[0]
                return

    logging.disable(logging.CRITICAL)
    try:
        trio.run(run)
    finally:
        logging.disable(logging.NOTSET)
