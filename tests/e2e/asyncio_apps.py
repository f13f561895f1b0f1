"""Apps that need asyncio, in frameworks that people use."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import Scope, Send
    from starlette.websockets import WebSocket

BLOCKED = "E2E_BLOCKED"
"""Names the file that appears when a worker's loop is about to block."""


def _name() -> str:
    return f"Hello from worker {os.environ['BALANCER_WORKER_ID']}, pid {os.getpid()}\n"


def _block(seconds: float) -> None:
    Path(os.environ[BLOCKED]).touch()
    time.sleep(seconds)


async def hello(_request: Request) -> PlainTextResponse:
    return PlainTextResponse(_name())


async def sleep(request: Request) -> PlainTextResponse:
    await asyncio.sleep(float(request.path_params["seconds"]))
    return PlainTextResponse(_name())


async def block(request: Request) -> PlainTextResponse:
    _block(float(request.path_params["seconds"]))
    return PlainTextResponse(_name())


async def stream(_request: Request) -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            await asyncio.sleep(0)
            yield b"%d\n" % number

    return StreamingResponse(pieces())


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{text} from worker {os.environ['BALANCER_WORKER_ID']}")


ROUTES = [
    Route("/", hello),
    Route("/sleep/{seconds}", sleep),
    Route("/block/{seconds}", block),
    Route("/stream", stream),
    WebSocketRoute("/echo", echo),
]
site = Starlette(routes=ROUTES)


@asynccontextmanager
async def _no_database(app: Starlette) -> AsyncIterator[None]:
    await asyncio.sleep(0)
    if app.routes:
        yield
    raise ConnectionError("no database")


failing = Starlette(lifespan=_no_database)


async def nothing(scope: Scope, _receive: object, send: Send) -> None:
    """404, whatever is asked for."""
    if scope["type"] == "http":
        start = {
            "type": "http.response.start",
            "status": 404,
            "headers": [(b"content-length", b"0")],
        }
        await send(start)
        await send({"type": "http.response.body"})


async def raising(_scope: object, _receive: object, _send: object) -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError


def django() -> object:
    """A Django project in one function, for asyncio as Django's ASGI handler is."""
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    async def view(_request: HttpRequest, seconds: str) -> HttpResponse:
        await asyncio.sleep(float(seconds))
        return HttpResponse(_name(), content_type="text/plain")

    def plain(request: HttpRequest) -> HttpResponse:  # in a thread
        return HttpResponse(request.body or _name(), content_type="text/plain")

    urls = [path("", plain), path("sleep/<seconds>", view)]
    settings.configure(ROOT_URLCONF=tuple(urls), ALLOWED_HOSTS=["*"], SECRET_KEY="for a test")
    return get_asgi_application()
