"""The apps of these tests: plain ASGI on asyncio."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from balancer.errors import RunError
from balancer.worker.current import current_worker

if TYPE_CHECKING:
    from balancer.apps.asgi.types import Message, Receive, Scope, Send

SLOW = 2.0
"""Seconds to start; more than the others give it."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """``/``, ``/sleep/SECONDS``, ``/late`` (answers when it is cancelled),
    ``/text`` (its status is text),
    ``/begin/SECONDS`` (sleeps after the first half of its body),
    ``/after/SECONDS`` (sleeps when it has answered), ``/raise``, ``/break`` (raises after the first
    part of its body), ``/fail-late`` (raises when it has answered), ``/silent``, ``/id``,
    ``/ask/WORD``, which asks that of its worker, and WebSockets, which echo."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await echo(receive, send)
    else:
        await answer(scope, send)


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            if line := os.environ.get("TEST_WORKER_LINE"):
                os.write(int(line), b"stopped")
            return


async def echo(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def answer(scope: Scope, send: Send) -> None:
    _, word, *rest = scope["path"].split("/")
    if word == "ask":
        await ask_worker(rest[0], send)
        return
    seconds = float(rest[0]) if rest else 0.0
    if word == "sleep":
        await asyncio.sleep(seconds)
    elif word == "late":
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
    elif word == "raise":
        raise ValueError("as asked")
    elif word == "silent":
        return
    body = f"{scope['client']} {scope['scheme']}".encode()
    if word == "id":
        get = scope["extensions"]["balancer.request_id"]["get"]
        body = get().encode()
        assert get().encode() == body
    head = start(len(body))
    if word == "text":
        head["status"] = "200"
    await send(head)
    await send({"type": "http.response.body", "body": body[:2], "more_body": True})
    if word == "break":
        raise ValueError("as asked")
    if word == "begin":
        await asyncio.sleep(seconds)
    await send({"type": "http.response.body", "body": body[2:]})
    if word == "fail-late":
        raise ValueError("as asked")
    if word == "after":
        await asyncio.sleep(seconds)
        os.write(int(os.environ["TEST_WORKER_LINE"]), b"after")


async def ask_worker(what: str, send: Send) -> None:
    me = current_worker()
    assert me is not None
    said = "done"
    try:
        if what == "leave":
            await me.disconnect()
        elif what == "close":
            me.close(me.addresses[0])
        elif what == "listen":
            me.listen(me.addresses[0])
        elif what == "send":
            await me.send("hello")
        else:
            me.messages()
    except RunError as error:
        said = str(error)
    await send(start(len(said)))
    await send({"type": "http.response.body", "body": said.encode()})


def start(length: int) -> Message:
    return {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-length", str(length).encode()), (b"x-app", b"app")],
    }


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def slow_to_start(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "lifespan"
    await receive()
    os.write(int(os.environ["TEST_WORKER_LINE"]), b"start")
    await asyncio.sleep(SLOW)
    await send({"type": "lifespan.startup.complete"})


def wsgi(environ: dict[str, object], start_response: object) -> list[bytes]:
    raise AssertionError((environ, start_response))
