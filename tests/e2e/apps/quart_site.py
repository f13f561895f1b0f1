"""Quart on trio: a framework that was written for this event loop."""

from __future__ import annotations

import os

import trio
from quart import request
from quart_trio import QuartTrio

app = QuartTrio(__name__)


@app.get("/")
async def hello() -> str:
    return f"Hello from worker {os.environ['BALANCER_WORKER_ID']}\n"


@app.post("/echo")
async def echo() -> bytes:
    data = await request.get_data()
    assert isinstance(data, bytes)
    return data


@app.get("/nursery")
async def nursery() -> dict[str, int]:
    total = 0

    async def add(number: int) -> None:
        nonlocal total
        await trio.sleep(0.01)
        total += number

    async with trio.open_nursery() as children:
        for number in range(10):
            children.start_soon(add, number)
    return {"total": total}
