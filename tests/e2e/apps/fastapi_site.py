"""FastAPI as its tutorial has it: async and threaded endpoints, dependencies, a model, lifespan."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import trio
from fastapi import Depends, FastAPI, File, Request, UploadFile
from pydantic import BaseModel


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, str]]:
    yield {"greeting": "hello"}


app = FastAPI(lifespan=lifespan)


class Item(BaseModel):
    name: str
    price: float


async def page(skip: int = 0) -> int:
    return skip


@app.get("/")
async def root(request: Request) -> dict[str, object]:
    return {"greeting": request.state.greeting, "pid": os.getpid()}


@app.get("/threaded")
def threaded(skip: Annotated[int, Depends(page)]) -> dict[str, int]:
    return {"skip": skip, "pid": os.getpid()}


@app.post("/items")
async def create(item: Item) -> Item:
    return item


@app.post("/upload")
async def upload(file: Annotated[UploadFile, File()]) -> dict[str, object]:
    return {"name": file.filename, "size": len(await file.read())}


@app.get("/sleep/{seconds}")
async def sleep(seconds: float) -> dict[str, int]:
    await trio.sleep(seconds)
    return {"pid": os.getpid()}
