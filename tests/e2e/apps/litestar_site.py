"""Litestar: a framework that leaves it to the event loop which one it is."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.response import Stream


class Item(msgspec.Struct):
    name: str
    price: float


@get("/", media_type="text/plain")
async def hello() -> str:
    return f"Hello from worker {os.environ['BALANCER_WORKER_ID']}\n"


@get("/threaded", sync_to_thread=True)
def threaded(skip: int = 0) -> dict[str, int]:
    return {"skip": skip}


@post("/items")
async def items(data: Item) -> Item:
    return data


@post("/echo")
async def echo(request: Request[Any, Any, Any]) -> bytes:
    return await request.body()


@get("/count/{to:int}")
async def count(to: int) -> Stream:
    async def lines() -> AsyncIterator[str]:
        for number in range(to):
            yield f"{number}\n"
            await anyio.lowlevel.checkpoint()

    return Stream(lines())


@websocket("/ws")
async def talk(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


app = Litestar([hello, threaded, items, echo, count, talk])
