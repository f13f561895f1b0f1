"""A connection in memory, and a conversation over it."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from balancer.http1 import ClientGone, Http1Config, Http1Server, NullStats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from balancer.http1 import Handler, Stats
    from balancer.http1.transport import Address

WHOLE, BYTEWISE = 1 << 30, 1
CUTS = (WHOLE, BYTEWISE)
"""How many bytes one receive gives at most: every message is also fed byte by byte."""


class MemoryTransport:
    """Bytes fed by a test, ``piece`` at a time; what is sent is kept in ``sent``.

    ``room`` is how much the client still takes; None: everything.
    """

    scheme = "http"
    peer: Address = ("203.0.113.9", 4711)
    local: Address = ("127.0.0.1", 8000)

    def __init__(self, piece: int = WHOLE, room: int | None = None) -> None:
        self.sent = b""
        self.half_closed = self.closed = self.aborted = False
        self._piece = piece
        self._room = room
        self._inbox = b""
        self._ended = self._broken = False
        self._waits: set[trio.Event] = set()
        self._interrupted = False

    def feed(self, data: bytes) -> None:
        self._inbox += data
        self._wake()

    def feed_eof(self) -> None:
        self._ended = True
        self._wake()

    def reset(self) -> None:
        self._broken = True
        self._wake()

    def take(self, room: int | None) -> None:
        self._room = room
        self._wake()

    @property
    def unread(self) -> bytes:
        return self._inbox

    def recv_nowait(self, limit: int) -> bytes | None:
        self._check()
        if not self._inbox:
            return b"" if self._ended else None
        size = min(limit, self._piece)
        data, self._inbox = self._inbox[:size], self._inbox[size:]
        return data

    def send_nowait(self, data: bytes | memoryview) -> int:
        self._check()
        assert not self.half_closed
        taken = bytes(data if self._room is None else data[: self._room])
        self.sent += taken
        if self._room is not None:
            self._room -= len(taken)
        return len(taken)

    def post_nowait(self, data: bytes) -> int:
        return self.send_nowait(data)

    async def wait_posted(self) -> None:
        pass

    def send_last_nowait(self, data: bytes) -> int:
        sent = self.send_nowait(data)
        if sent == len(data):
            self.send_eof()
        return sent

    async def wait_readable(self) -> None:
        await trio.lowlevel.checkpoint()
        if not (self._inbox or self._ended or self._broken):
            await self._wait()

    async def wait_request(self) -> None:
        await self.wait_readable()

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._room == 0 and not self._broken:
            await self._wait()

    def interrupt(self) -> None:
        self._interrupted = bool(self._waits)
        self._wake()

    def watch(self, watcher: Callable[[], None] | None) -> None:
        """Nobody watches a test's client."""

    @property
    def stirred(self) -> bool:
        return bool(self._inbox) or self._ended

    @property
    def ended(self) -> bool:
        return self._ended

    def has_bytes(self) -> bool:
        return bool(self._inbox)

    def send_eof(self) -> None:
        self.half_closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        if not self.closed:
            self.aborted = self.closed = True
            self.interrupt()

    def _check(self) -> None:
        if self._broken or self.closed:
            raise ClientGone("reset")

    def _wake(self) -> None:
        for each in self._waits:
            each.set()

    async def _wait(self) -> None:
        event = trio.Event()
        self._waits.add(event)
        try:
            await event.wait()
        finally:
            self._waits.discard(event)
        if self._interrupted:
            self._interrupted = bool(self._waits)
            raise trio.ClosedResourceError


@dataclass
class Conversation:
    """A client in memory, its server, and the end of their connection."""

    server: Http1Server
    transport: MemoryTransport
    over: trio.Event

    def say(self, data: bytes) -> None:
        self.transport.feed(data)

    def state(self) -> str:
        """``open``, ``half-closed`` by the server, ``aborted`` or ``closed``."""
        transport = self.transport
        if transport.closed:
            return "aborted" if transport.aborted else "closed"
        return "half-closed" if transport.half_closed else "open"

    async def hear(self) -> bytes:
        """What the server has to say before it waits for us again; no Date."""
        await trio.testing.wait_all_tasks_blocked()
        heard, self.transport.sent = self.transport.sent, b""
        return undated(heard)


@asynccontextmanager
async def conversation(
    handler: Handler,
    *,
    piece: int = WHOLE,
    room: int | None = None,
    config: Http1Config | None = None,
    stats: Stats | None = None,
) -> AsyncIterator[Conversation]:
    """Serve one connection in memory, with the heartbeat that a worker would give."""
    server = Http1Server(handler, config or Http1Config(), stats or NullStats())
    talk = Conversation(server, MemoryTransport(piece, room), trio.Event())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heartbeat, server)
        nursery.start_soon(_serve, talk)
        yield talk
        nursery.cancel_scope.cancel()


async def heartbeat(server: Http1Server) -> None:
    """Tick as a worker does."""
    while True:
        server.tick(trio.current_time())
        await trio.sleep(0.25)


async def _serve(talk: Conversation) -> None:
    await talk.server.serve_transport(talk.transport)
    talk.over.set()


async def answer_to(
    handler: Handler,
    data: bytes,
    *,
    piece: int = WHOLE,
    config: Http1Config | None = None,
    stats: Stats | None = None,
) -> bytes:
    """Everything the server says to a client that sends ``data`` and then half-closes; no Date."""
    async with conversation(handler, piece=piece, config=config, stats=stats) as talk:
        talk.say(data)
        talk.transport.feed_eof()
        await talk.over.wait()
    assert talk.transport.closed
    return undated(talk.transport.sent)


def undated(data: bytes) -> bytes:
    """Without our Date fields, whose form is checked."""
    form = rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n"
    return re.sub(form, b"", data)
