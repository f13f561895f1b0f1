"""Starlette with what it has beyond JSON: streams, files, background tasks, WebSocket."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

done: list[str] = []


class Stamp(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-pid"] = str(os.getpid())
        return response


async def hello(_request: Request) -> Response:
    return PlainTextResponse(f"Hello from worker {os.environ['BALANCER_WORKER_ID']}\n")


async def count(request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        for number in range(int(request.path_params["to"])):
            yield f"{number}\n"
            await anyio.lowlevel.checkpoint()

    return StreamingResponse(lines(), media_type="text/plain")


async def forever(_request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        try:
            yield "first\n"
            await anyio.sleep_forever()
        finally:
            done.append("forever was cancelled")

    return StreamingResponse(lines())


async def background(_request: Request) -> Response:
    return PlainTextResponse("ok", background=BackgroundTask(done.append, "background"))


async def what_is_done(_request: Request) -> Response:
    return JSONResponse(done)


async def file(_request: Request) -> Response:
    return FileResponse(__file__)


async def echo(request: Request) -> Response:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    return PlainTextResponse(str(size))


async def fail(_request: Request) -> Response:
    raise RuntimeError("on purpose")


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{os.getpid()} {text}")


app = Starlette(
    routes=[
        Route("/", hello),
        Route("/count/{to:int}", count),
        Route("/forever", forever),
        Route("/background", background),
        Route("/done", what_is_done),
        Route("/file", file),
        Route("/echo", echo, methods=["POST"]),
        Route("/fail", fail),
        WebSocketRoute("/ws", socket),
    ],
    middleware=[Middleware(GZipMiddleware), Middleware(Stamp)],
)
