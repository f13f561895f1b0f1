"""An ASGI app of WebSockets, for the tests that run it in real workers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from balancer.apps.asgi.types import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Does what the path says."""
    if scope["type"] == "websocket":
        await PATHS[scope["path"]](scope, receive, send)
    else:
        assert scope["type"] == "http"
        start: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns every message; "pid" and "close CODE REASON" are commands."""
    offered = scope["subprotocols"]
    await receive()
    await send({"type": "websocket.accept", "subprotocol": offered[-1] if offered else None})
    while (message := await receive())["type"] == "websocket.receive":
        text = message["text"] or ""
        if text == "pid":
            message = {"text": str(os.getpid())}
        elif text.startswith("close "):
            _, code, reason = text.split(" ", 2)
            await send({"type": "websocket.close", "code": int(code), "reason": reason})
            continue
        elif text == "raise":
            raise ValueError("the app's own")
        await send({**message, "type": "websocket.send"})
    print(f"disconnected: {message['code']} {message['reason']}", flush=True)


async def refuse(_: Scope, receive: Receive, send: Send) -> None:
    """A response of its own instead of a WebSocket."""
    await receive()
    headers = [(b"x-why", b"because")]
    await send({"type": "websocket.http.response.start", "status": 418, "headers": headers})
    for piece in (b"no ", b"coffee"):
        await send({"type": "websocket.http.response.body", "body": piece, "more_body": True})
    await send({"type": "websocket.http.response.body"})


async def deny(_: Scope, receive: Receive, send: Send) -> None:
    """The 403 of a close before accept."""
    await receive()
    await send({"type": "websocket.close"})


PATHS = {"/": echo, "/refuse": refuse, "/deny": deny}
