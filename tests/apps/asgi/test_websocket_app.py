"""What an app may say and hear (ASGI WebSocket 2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from balancer.http1 import ClientGone, Http1Config, MisuseError
from tests.apps.asgi.websocket_support import (
    ACCEPTED,
    BINARY,
    REQUEST,
    TEXT,
    close,
    errors,
    frame,
    listen,
    talking,
)
from tests.http1.fakes import undated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balancer.apps.asgi import AsgiApp
    from balancer.apps.asgi.types import Message, Receive, Scope, Send
    from balancer.http1.tally import Done

ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close"}
TEXT_A: Message = {"type": "websocket.send", "text": "a"}
START: Message = {"type": "websocket.http.response.start", "status": 401, "headers": []}
BODY: Message = {"type": "websocket.http.response.body", "body": b"no"}


def says(*messages: Message, raised: list[Exception] | None = None) -> AsgiApp:
    """An app that says this, and keeps on after what it may not say."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await receive()
        for message in messages:
            try:
                await send(message)
            except (MisuseError, OSError) as error:
                if raised is None:
                    raise
                raised.append(error)

    return app


async def heard_from(app: AsgiApp, request: bytes = REQUEST) -> bytes:
    async with talking(app) as talk:
        talk.say(request + b"\r\n")
        return undated(await talk.hear())


# accept


async def test_accept_with_a_subprotocol_and_headers() -> None:
    message = {**ACCEPT, "subprotocol": "b", "headers": [(b"x-a", b"1"), (b"Set-Cookie", b"c=d")]}
    request = REQUEST + b"Sec-WebSocket-Protocol: a, b\r\n"
    assert await heard_from(says(message), request) == (
        ACCEPTED + b"Sec-WebSocket-Protocol: b\r\nx-a: 1\r\nSet-Cookie: c=d\r\n\r\n\x88\x02\x03\xe8"
    )


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"subprotocol": "c"}, "subprotocol 'c' is none that the client offers"),
        ({"subprotocol": ""}, "subprotocol '' is none"),
        ({"headers": [(b"Sec-WebSocket-Protocol", b"a")]}, "is not for an app to send"),
        ({"headers": [(b"sec-websocket-accept", b"a")]}, "is not for an app to send"),
        ({"headers": [(b"content-length", b"0")]}, "is not for an app to send"),
        ({"headers": [("x", "y")]}, "names and values are bytes"),
        ({"headers": [(b"x y", b"")]}, "is no header name"),
        ({"headers": [(b"x", b"a\r\nb: c")]}, "has a control character"),
    ],
)
async def test_bad_accepts_can_be_made_good(message: Message, problem: str) -> None:
    raised: list[Exception] = []
    app = says({**ACCEPT, **message}, ACCEPT, raised=raised)
    request = REQUEST + b"Sec-WebSocket-Protocol: a\r\n"
    assert await heard_from(app, request) == ACCEPTED + b"\r\n\x88\x02\x03\xe8"
    [error] = raised
    assert isinstance(error, MisuseError)
    assert problem in str(error)


async def test_accept_without_having_received() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await send(ACCEPT)
        assert await receive() == {"type": "websocket.connect"}

    assert await heard_from(app) == ACCEPTED + b"\r\n\x88\x02\x03\xe8"


# refuse


async def test_close_before_accept_is_a_403() -> None:
    for message in (CLOSE, {**CLOSE, "code": 4000, "reason": "x"}):
        async with talking(says(message)) as talk:
            answer = await talk.open()
            assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
            talk.say(REQUEST + b"\r\n")  # the connection stays
            assert (await talk.hear()).startswith(b"HTTP/1.1 403 Forbidden\r\n")


async def test_a_refusal_of_the_apps_own() -> None:
    headers = [(b"www-authenticate", b"Basic")]
    assert await heard_from(says({**START, "headers": headers}, BODY)) == (
        b"HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\nContent-Length: 2\r\n\r\nno"
    )
    more = {**BODY, "more_body": True}
    assert await heard_from(says(START, more, more, BODY)) == (
        b"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nno\r\n2\r\nno\r\n2\r\nno\r\n0\r\n\r\n"
    )


async def test_after_a_refusal_the_app_hears_of_the_end() -> None:
    for messages in ([CLOSE], [START, BODY]):
        ends: list[Message] = []

        async def app(
            scope: Scope, receive: Receive, send: Send, messages: Sequence[Message] = messages,
            ends: list[Message] = ends,
        ) -> None:  # fmt: skip
            await says(*messages)(scope, receive, send)
            ends.extend([await receive(), await receive()])
            with pytest.raises(OSError, match="closed"):
                await send(TEXT_A)

        await heard_from(app)
        assert ends == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}] * 2


async def test_a_refusal_that_breaks_off_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    async with talking(says(START, {**BODY, "more_body": True})) as talk:
        await talk.open()
        assert talk.state() == "aborted"
    assert errors(caplog) == ["the handler broke off its response to GET /chat (request 1)"]


async def test_no_answer_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    assert (await heard_from(says())).startswith(b"HTTP/1.1 500 ")
    assert errors(caplog) == ["the handler gave no response to GET /chat (request 1)"]


async def test_raising_before_accept_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def app(*_: object) -> None:
        raise ValueError("the app's own")

    assert (await heard_from(app)).startswith(b"HTTP/1.1 500 ")
    assert errors(caplog) == ["the handler failed on GET /chat (request 1)"]
    assert "the app's own" in caplog.text


async def test_a_client_that_leaves_before_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    """The app may be waiting for that, and what it says then raises."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await receive()
        seen.append(await receive())
        try:
            await send(ACCEPT)
        except OSError as error:
            seen.append(error)
            raise

    async with talking(app) as talk:
        await talk.open()
        talk.transport.feed_eof()
        await talk.over.wait()
    assert seen[0] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert isinstance(seen[1], ClientGone)
    assert not errors(caplog)


async def test_receive_waits_in_another_task_for_the_accept() -> None:
    got = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await receive()

        async def reader() -> None:
            got.append(await receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(MisuseError):
                await send({**ACCEPT, "headers": [(b"x y", b"")]})
            await trio.testing.wait_all_tasks_blocked()
            await send(ACCEPT)

    async with talking(app) as talk:
        talk.say(REQUEST + b"\r\n")
        heard = b""
        while not heard:  # the app waits as we do
            heard = await talk.hear()
        assert heard == ACCEPTED + b"\r\n"
        assert await talk.answer(frame(TEXT, b"a")) == [("close", 1000, "")]
    assert [message["text"] for message in got] == ["a"]


# send and receive


async def test_messages_both_ways() -> None:
    async with talking(listen) as talk:
        await talk.open()
        await talk.answer(frame(TEXT, b"a") + frame(BINARY, b"b"))
        assert talk.got == [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": "a", "bytes": None},
            {"type": "websocket.receive", "text": None, "bytes": b"b"},
        ]
    sends: list[dict[str, object]] = [
        {"text": "a"},
        {"text": "", "bytes": None},
        {"bytes": b"b", "text": None},
        {"bytes": bytearray(b"c")},
        {"bytes": memoryview(b"d")},
    ]
    app = says(ACCEPT, *[{"type": "websocket.send", **each} for each in sends])
    async with talking(app) as talk:
        assert (await talk.open()).endswith(
            b"\x81\x01a\x81\x00\x82\x01b\x82\x01c\x82\x01d\x88\x02\x03\xe8"
        )


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"type": "websocket.send"}, "either text or bytes"),
        ({"type": "websocket.send", "text": None, "bytes": None}, "either text or bytes"),
        ({"type": "websocket.send", "text": "a", "bytes": b"a"}, "either text or bytes"),
        ({"type": "websocket.send", "text": b"a"}, "text is a str, not a bytes"),
        ({"type": "websocket.send", "bytes": "a"}, "bytes are bytes, not a str"),
        ({"type": "websocket.send", "text": "a\ud800"}, "half a surrogate pair at 1"),
        ({"type": "websocket.close", "code": 999}, "999 is no code to close with"),
        ({"type": "websocket.close", "code": 1005}, "1005 is no code to close with"),
        ({"type": "websocket.close", "code": 1006}, "1006 is no code to close with"),
        ({"type": "websocket.close", "code": 5000}, "5000 is no code to close with"),
        ({"type": "websocket.close", "code": "1000"}, "'1000' is no code to close with"),
        ({"type": "websocket.close", "reason": b"x"}, "the reason to close is a str"),
        ({"type": "websocket.close", "reason": "ä" * 62}, "at most 123 bytes"),
        ({"type": "websocket.close", "reason": "\ud800"}, "half a surrogate pair"),
        ({"type": "websocket.accept"}, "where websocket.send or websocket.close was due"),
        ({"type": "websocket.connect"}, "where websocket.send or websocket.close was due"),
        ({"type": "http.response.start", "status": 200}, "was due"),
        (START, "was due"),
    ],
)
async def test_what_may_not_be_sent_raises_and_leaves_no_trace(
    message: Message, problem: str
) -> None:
    raised: list[Exception] = []
    app = says(ACCEPT, message, TEXT_A, raised=raised)
    assert await heard_from(app) == ACCEPTED + b"\r\n\x81\x01a\x88\x02\x03\xe8"
    [error] = raised
    assert isinstance(error, MisuseError)
    assert problem in str(error)


@pytest.mark.parametrize("message", [TEXT_A, {"type": "websocket.receive"}, BODY])
async def test_what_may_not_be_sent_before_accept(message: Message) -> None:
    raised: list[Exception] = []
    assert await heard_from(says(message, ACCEPT, raised=raised)) == (
        ACCEPTED + b"\r\n\x88\x02\x03\xe8"
    )
    assert [type(error) for error in raised] == [MisuseError]


# the end


@pytest.mark.parametrize(
    ("message", "on_the_wire", "heard"),
    [
        ({}, b"\x88\x02\x03\xe8", (1000, "")),
        ({"code": None, "reason": None}, b"\x88\x02\x03\xe8", (1000, "")),
        ({"code": 4001, "reason": "ä"}, b"\x88\x04\x0f\xa1\xc3\xa4", (4001, "ä")),
        ({"code": 1014}, b"\x88\x02\x03\xf6", (1014, "")),
    ],
)
async def test_the_app_closes(message: Message, on_the_wire: bytes, heard: tuple[int, str]) -> None:
    raised: list[Exception] = []
    ends = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await says(ACCEPT, {**CLOSE, **message}, TEXT_A, CLOSE, raised=raised)(scope, receive, send)
        ends.append(await receive())

    async with talking(app) as talk:
        assert await talk.open() == ACCEPTED + b"\r\n" + on_the_wire
        assert talk.state() == "open"  # it waits for the client's Close
        code, reason = heard
        assert ends == [{"type": "websocket.disconnect", "code": code, "reason": reason}]
        assert [type(error) for error in raised] == [ClientGone, ClientGone]
        talk.say(frame(TEXT, b"too late") + close(code if code != 1014 else 1000))
        await talk.over.wait()
        assert talk.state() == "closed"
        assert talk.transport.half_closed


async def test_the_app_raises(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await receive()
        await send(ACCEPT)
        raise ValueError("the app's own")

    assert await heard_from(app) == ACCEPTED + b"\r\n\x88\x02\x03\xf3"
    assert errors(caplog) == ["the app failed on WebSocket /chat (request 1)"]
    assert "ValueError: the app's own" in caplog.text


async def test_an_app_error_is_not_taken_for_a_clients_leaving(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await receive()
        await send(ACCEPT)
        raise FileNotFoundError("the app's own")

    assert (await heard_from(app)).endswith(b"\x88\x02\x03\xf3")
    assert errors(caplog) == ["the app failed on WebSocket /chat (request 1)"]


async def test_misuse_that_the_app_lets_pass(caplog: pytest.LogCaptureFixture) -> None:
    app = says(ACCEPT, {"type": "websocket.send"})
    assert await heard_from(app) == ACCEPTED + b"\r\n\x88\x02\x03\xf3"
    assert errors(caplog) == ["the app failed on WebSocket /chat (request 1)"]


async def test_what_an_app_raises_because_its_client_left_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class WebSocketDisconnect(Exception):  # noqa: N818 - Starlette's
        pass

    async def like_starlette(scope: Scope, receive: Receive, send: Send) -> None:
        await listen(scope, receive, send)
        raise WebSocketDisconnect

    async def sender(scope: Scope, receive: Receive, send: Send) -> None:
        await listen(scope, receive, send)
        await send(TEXT_A)

    for app in (like_starlette, sender):
        async with talking(app) as talk:
            await talk.open()
            talk.say(close(1001))
            await talk.over.wait()
    assert not errors(caplog)


async def test_an_app_that_needs_asyncio_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    import asyncio

    async def before(*_: object) -> None:
        asyncio.get_running_loop()

    async def after(scope: Scope, receive: Receive, send: Send) -> None:
        await says(ACCEPT)(scope, receive, send)
        asyncio.get_running_loop()

    assert (await heard_from(before)).startswith(b"HTTP/1.1 500 ")
    assert (await heard_from(after)).endswith(b"\x88\x02\x03\xf3")
    assert all("--engine uvicorn" in line for line in errors(caplog))
    assert len(errors(caplog)) == 2
    assert "Traceback" not in caplog.text


# statistics


class Counts:
    def __init__(self) -> None:
        self.done: list[tuple[int, int, int]] = []

    patience = 1

    def requests_done(self, done: Sequence[Done]) -> None:
        for status, seconds, bytes_in, bytes_out in done:
            assert seconds >= 0
            self.done.append((status, bytes_in, bytes_out))


async def test_one_request_with_status_101() -> None:
    counts = Counts()
    async with talking(stats=counts) as talk:
        await talk.open()
        await talk.answer(frame(TEXT, b"abc"))
        talk.say(close(1000))
        await talk.over.wait()
    received, sent = len(REQUEST) + 2 + 9 + 8, len(ACCEPTED) + 2 + 5 + 4
    assert counts.done == [(101, received, sent)]


async def test_limits_of_http_are_not_those_of_websockets() -> None:
    engine = Http1Config(max_body=10, body_timeout=0.1, keep_alive=0.1, header_timeout=0.1)
    async with talking(engine=engine) as talk:
        await talk.open()
        await trio.sleep(0.6)  # longer than any of them
        assert await talk.answer(frame(TEXT, b"x" * 100)) == ["x" * 100]
