"""A WebSocket client in memory, which speaks by wsproto or byte by byte, and an app to talk to."""

from __future__ import annotations

import logging
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from balancer.apps.asgi import AsgiConfig, AsgiService
from balancer.apps.asgi.websocket.config import WebSocketConfig
from balancer.http1 import Http1Config, NullStats
from balancer.settings import TrustedPeers
from tests.http1.fakes import WHOLE, MemoryTransport, undated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wsproto.events import Event
    from wsproto.extensions import Extension

    from balancer.apps.asgi import AsgiApp
    from balancer.apps.asgi.types import Message, Receive, Scope, Send
    from balancer.http1 import Stats

REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
"""The head, without its end; the key is the one of RFC 6455 1.3."""
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True
) -> bytes:
    """A frame as a client writes it, right or wrong."""
    size = len(payload)
    if size < 126:
        length = bytes([mask << 7 | size])
    elif size < 65536:
        length = struct.pack("!BH", mask << 7 | 126, size)
    else:
        length = struct.pack("!BQ", mask << 7 | 127, size)
    head = bytes([fin << 7 | rsv << 4 | opcode]) + length
    if not mask:
        return head + payload
    key = b"\x37\xfa\x21\x3d"
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    """A client's Close."""
    return frame(CLOSE, (b"" if code is None else struct.pack("!H", code)) + reason)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts, and returns every message; ends with its client."""
    assert scope["type"] == "websocket"
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


async def listen(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    """Accepts, and says nothing; ends with its client."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        pass


@dataclass
class Talk:
    """A client, its server and what the app got."""

    service: AsgiService
    transport: MemoryTransport
    over: trio.Event
    parser: Connection
    got: list[Message] = field(default_factory=list)
    """What the app has received."""

    def say(self, data: bytes) -> None:
        self.transport.feed(data)

    async def hear(self) -> bytes:
        """What the server has to say before it waits for us again."""
        await trio.testing.wait_all_tasks_blocked()
        heard, self.transport.sent = self.transport.sent, b""
        return heard

    async def open(self, more: bytes = b"") -> bytes:
        """Shake hands; what the server says."""
        self.say(REQUEST + more + b"\r\n")
        return undated(await self.hear())

    async def shake(self) -> None:
        """Shake hands; what comes behind that is for ``events``."""
        self.say(REQUEST + b"\r\n")
        head, _, rest = (await self.hear()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        self.transport.sent = rest

    async def events(self) -> list[Event]:
        """What the server says, as frames; they must be legal."""
        return parse(self.parser, await self.hear())

    async def answer(self, data: bytes) -> list[str | bytes | tuple[Any, ...]]:
        """What the server says to it, in short."""
        self.say(data)
        return [short(event) for event in await self.events()]

    def state(self) -> str:
        """``open``, ``half-closed`` by the server, ``aborted`` or ``closed``."""
        if self.transport.closed:
            return "aborted" if self.transport.aborted else "closed"
        return "half-closed" if self.transport.half_closed else "open"


def parse(parser: Connection, data: bytes) -> list[Event]:
    """Frames of a server; a violation is an AssertionError."""
    if data:
        parser.receive_data(data)
    events = list(parser.events())
    for event in events:
        broken = isinstance(event, CloseConnection) and parser.state.name == "OPEN"
        assert not broken, f"the server broke the protocol: {event}"
    return events


def short(event: Event) -> str | bytes | tuple[Any, ...]:
    """Text, bytes, or a tuple that begins with the kind."""
    if isinstance(event, TextMessage | BytesMessage):
        return event.data if isinstance(event.data, str) else bytes(event.data)
    if isinstance(event, CloseConnection):
        return ("close", int(event.code), event.reason or "")
    if isinstance(event, Ping):
        return ("ping", bytes(event.payload))
    assert isinstance(event, Pong)
    return ("pong", bytes(event.payload))


@asynccontextmanager
async def talking(
    app: AsgiApp = echo,
    *,
    piece: int = WHOLE,
    room: int | None = None,
    config: WebSocketConfig | None = None,
    engine: Http1Config | None = None,
    stats: Stats | None = None,
    extensions: list[Extension] | None = None,
) -> AsyncIterator[Talk]:
    """Serve one connection in memory, with the heartbeat that a worker would give."""
    asgi = AsgiConfig("site:app", "off", "", TrustedPeers(()), config or WebSocketConfig())
    got: list[Message] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_and_note() -> Message:
            message = await receive()
            got.append(message)
            return message

        await app(scope, receive_and_note, send)

    service = AsgiService(watched, asgi, engine or Http1Config(), stats or NullStats())
    transport = MemoryTransport(piece, room)
    parser = Connection(ConnectionType.CLIENT, extensions)
    talk = Talk(service, transport, trio.Event(), parser, got)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_beat, service)
        nursery.start_soon(_serve, talk)
        yield talk
        nursery.cancel_scope.cancel()


async def _beat(service: AsgiService) -> None:
    while True:
        service.tick(trio.current_time())
        await trio.sleep(0.25)


async def _serve(talk: Talk) -> None:
    await talk.service._server.serve_transport(talk.transport)
    talk.over.set()


def errors(caplog: Any) -> list[str]:  # noqa: ANN401 - pytest's
    """The errors that were logged."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
