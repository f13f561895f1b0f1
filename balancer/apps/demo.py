"""The demo app: what one needs to see balancing, blocking, crashing and streaming with curl."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from balancer.http1.exchange import Exchange, Handler

    Page = Callable[[Exchange, str], Awaitable[None]]

__all__ = ["make_handler"]

TEXT = ((b"Content-Type", b"text/plain; charset=utf-8"),)
JSON = ((b"Content-Type", b"application/json"),)
BINARY = (b"Content-Type", b"application/octet-stream")
LONGEST = 3600.0
"""Seconds; a longer /sleep or /block is a typing error."""
LARGEST = 10**15
PIECE = bytes(65536)


class _BadArgumentError(Exception):
    """Part of the path is no usable number."""


def make_handler(worker_id: int) -> Handler:
    """The demo app of the worker with this id.

    Pages: ``/``, ``/sleep/SECONDS``, ``/block/SECONDS`` (stops the event loop), ``/crash`` (kills
    the worker), ``/bytes/N``, ``/headers``, and ``POST /echo``.
    """
    hello = f"Hello from worker {worker_id} (pid {os.getpid()})\n".encode()

    async def handler(exchange: Exchange) -> None:
        if exchange.target == b"/" and exchange.method == "GET":  # what benchmarks ask for
            await exchange.respond(200, TEXT, hello)
        else:
            await _dispatch(exchange, hello)

    return handler


async def _dispatch(exchange: Exchange, hello: bytes) -> None:
    page: Page
    methods: tuple[str, ...]
    if exchange.path == b"/":
        page, argument, methods = _greet(hello), "", READ
    else:
        name, slash, argument = exchange.path.decode("latin-1")[1:].partition("/")
        found = PAGES.get(name)
        if found is None or bool(slash) != found[2]:
            await exchange.respond(404, TEXT, b"404 Not Found: no such page\n")
            return
        page, methods, _ = found
    if exchange.method not in methods:
        allow = (b"Allow", ", ".join(methods).encode())
        await exchange.respond(405, (*TEXT, allow), b"405 Method Not Allowed\n")
        return
    try:
        await page(exchange, argument)
    except _BadArgumentError as error:
        await exchange.respond(400, TEXT, f"400 Bad Request: {error}\n".encode())


def _greet(hello: bytes) -> Page:
    async def greet(exchange: Exchange, _: str) -> None:
        await exchange.respond(200, TEXT, hello)

    return greet


async def _sleep(exchange: Exchange, argument: str) -> None:
    await trio.sleep(_seconds(argument))
    await exchange.respond(200, TEXT, f"slept {argument} s in pid {os.getpid()}\n".encode())


async def _block(exchange: Exchange, argument: str) -> None:
    time.sleep(_seconds(argument))  # noqa: ASYNC251 - to show what a blocked worker does
    await exchange.respond(200, TEXT, f"blocked {argument} s in pid {os.getpid()}\n".encode())


async def _crash(_: Exchange, __: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def _bytes(exchange: Exchange, argument: str) -> None:
    left = _count(argument)
    await exchange.start(200, (BINARY, (b"Content-Length", b"%d" % left)))
    while left > 0 and exchange.method != "HEAD":
        piece = PIECE[: min(left, len(PIECE))]
        await exchange.write(piece)
        left -= len(piece)
        await trio.lowlevel.checkpoint()  # a client that reads fast must not starve the others
    await exchange.finish()


async def _echo(exchange: Exchange, _: str) -> None:
    sent = dict(exchange.headers)
    fields = [(b"Content-Type", sent.get(b"content-type", BINARY[1]))]
    if b"content-length" in sent:
        fields.append((b"Content-Length", sent[b"content-length"]))
    piece = await exchange.read()  # before the head: who waits for 100 Continue gets it
    await exchange.start(200, fields)
    while piece:
        await exchange.write(piece)
        piece = await exchange.read()
    await exchange.finish()


async def _headers(exchange: Exchange, _: str) -> None:
    said = {
        "method": exchange.method,
        "target": exchange.target.decode("latin-1"),
        "version": exchange.http_version,
        "headers": [[name.decode(), value.decode("latin-1")] for name, value in exchange.headers],
    }
    await exchange.respond(200, JSON, json.dumps(said, indent=2).encode() + b"\n")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST:  # nan is not, either
        raise _BadArgumentError(f"seconds must be a number from 0 to {LONGEST:g}")
    return seconds


def _count(text: str) -> int:
    # isdecimal alone takes digits of other scripts; int() alone takes "+1", "1_0" and " 1"
    if not (text.isascii() and text.isdecimal() and len(text) <= 16) or int(text) > LARGEST:
        raise _BadArgumentError(f"the number of bytes must be from 0 to {LARGEST}")
    return int(text)


READ = ("GET", "HEAD")
# name: the page, its methods, whether it has an argument
PAGES: dict[str, tuple[Page, tuple[str, ...], bool]] = {
    "sleep": (_sleep, READ, True),
    "block": (_block, READ, True),
    "crash": (_crash, READ, False),
    "bytes": (_bytes, READ, True),
    "headers": (_headers, READ, False),
    "echo": (_echo, ("POST",), False),
}
