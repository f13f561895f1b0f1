"""The ASGI app that every Python server runs: plain ASGI 3, no framework, nothing imported for it.

It knows neither the server nor the event loop: `/sleep` asks at each request whether trio runs it,
so one and the same app is served by asyncio servers, by hypercorn on trio and by balancer.

`/block` and `/burn` keep their whole worker busy, on purpose: nothing else runs in it meanwhile, as
when a handler computes or waits for a disk. `?slow=PID&times=F` makes one of the workers slow.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

HELLO = b"Hello, world!"
PIECE = bytes(65536)
PIECES = 160
DOWNLOAD = len(PIECE) * PIECES
"""Bytes of the download: 10 MiB."""


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """`GET /`, `/pid`, `/download`, `/sleep|block|burn/SECONDS`, `POST /sink`."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] != "http":
        raise NotImplementedError(f"no {scope['type']} here")
    elif scope["path"] == "/":
        await _respond(send, HELLO)
    elif scope["path"] == "/sink":
        await _respond(send, b"%d\n" % await _swallow(receive))
    elif scope["path"] == "/download":
        await _download(send)
    elif scope["path"] == "/pid":
        await _respond(send, f"answered in pid {os.getpid()}\n".encode())
    elif scope["path"].startswith("/sleep/"):
        seconds = scope["path"].removeprefix("/sleep/")
        await _sleep(float(seconds))
        await _respond(send, f"slept {seconds} s in pid {os.getpid()}\n".encode())
    elif scope["path"].startswith("/block/"):
        seconds = scope["path"].removeprefix("/block/")
        _block(float(seconds) * _slowness(scope["query_string"]))
        await _respond(send, f"blocked {seconds} s in pid {os.getpid()}\n".encode())
    elif scope["path"].startswith("/burn/"):
        seconds = scope["path"].removeprefix("/burn/")
        _burn(float(seconds) * _slowness(scope["query_string"]))
        await _respond(send, f"burned {seconds} s in pid {os.getpid()}\n".encode())
    else:
        await _respond(send, b"no such page\n", 404)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _respond(send: Send, body: bytes, status: int = 200) -> None:
    await _start(send, b"text/plain; charset=utf-8", len(body), status)
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, kind: bytes, length: int, status: int = 200) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _swallow(receive: Receive) -> int:
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body", False):
            return length


async def _download(send: Send) -> None:
    await _start(send, b"application/octet-stream", DOWNLOAD)
    for left in reversed(range(PIECES)):
        await send({"type": "http.response.body", "body": PIECE, "more_body": left > 0})


async def _sleep(seconds: float) -> None:
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        await trio.sleep(seconds)
    else:
        # Imported here: a server on trio rightly warns of apps that bring asyncio with them.
        import asyncio

        await asyncio.sleep(seconds)


def _slowness(query: bytes) -> float:
    """F in the process PID of `slow=PID&times=F`, 1 in every other and without a query."""
    if not query:
        return 1.0
    fields = dict(field.partition(b"=")[::2] for field in query.split(b"&"))
    return float(fields[b"times"]) if fields[b"slow"] == b"%d" % os.getpid() else 1.0


def _block(seconds: float) -> None:
    if seconds > 0:
        time.sleep(seconds)


def _burn(seconds: float) -> None:
    # Of this thread: a server that has others (granian) does its own work in them meanwhile.
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
