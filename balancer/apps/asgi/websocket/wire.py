"""An open WebSocket's bytes: a task that reads, a task that writes while the client is slow, time.

The reader always reads, whether the app receives or not: a ping must be answered and a Close
noticed also where the app only sends.  What it reads waits for the app, up to ``max_queue``
messages or ``max_size`` bytes; then it stops until the app has taken half of it, and TCP stops the
client.

Who has something to send gives it to the kernel at once.  What that doesn't take waits in
``_unsent``, which one task empties, and every sender of the app waits for that; so frames never
mix, and a send that the app cancels is still sent.  What the reader and the clock have to say
never waits: it stays in the session, bounded, until the wire is free.

Nothing here has a clock or a cancel scope of its own: the worker's tick looks at ``deadline``.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, final

import trio

from balancer.apps.asgi.websocket.session import CLOSED, DEAF, OPEN
from balancer.http1.errors import ClientGone

if TYPE_CHECKING:
    from balancer.apps.asgi.types import Message
    from balancer.apps.asgi.websocket.config import WebSocketConfig
    from balancer.apps.asgi.websocket.session import Session
    from balancer.http1.exchange import Exchange
    from balancer.http1.transport import Transport

__all__ = ["Clock", "Wire"]

SMALL_READ, LARGE_READ = 16 * 1024, 256 * 1024
PIECE = 1024 * 1024
"""How much is offered to the kernel at once: a socket's buffer takes less."""
TURNS = 16
"""An app that never has to wait gives way to the others after so many messages."""


class Clock(Protocol):
    """What all WebSockets of a worker read the time from."""

    @property
    def now(self) -> float:
        """Seconds of the reaper's clock."""


@final
class Wire:
    """The frames of one WebSocket, both ways; ``read`` must run while it is used."""

    __slots__ = (
        "_clock",
        "_config",
        "_exchange",
        "_free",
        "_held",
        "_inbox",
        "_news",
        "_nursery",
        "_paused",
        "_room",
        "_send_deadline",
        "_session",
        "_transport",
        "_turns",
        "_unsent",
        "_unwritable",
        "bytes_in",
        "bytes_out",
    )

    def __init__(
        self,
        exchange: Exchange,
        transport: Transport,
        session: Session,
        config: WebSocketConfig,
        nursery: trio.Nursery,
        clock: Clock,
    ) -> None:
        self._exchange = exchange
        self._transport = transport
        self._session = session
        self._config = config
        self._nursery = nursery
        self._clock = clock
        self._inbox: deque[Message] = deque()
        self._held = 0
        """Bytes, or characters, in the inbox."""
        self._paused = False
        """The reader waits for room."""
        self._unsent = bytearray()
        self._unwritable = False
        """The client takes nothing any more; what it had sent is still read."""
        self._send_deadline = math.inf
        self._turns = 0
        self._news = trio.lowlevel.ParkingLot()  # the app waits for messages
        self._room = trio.lowlevel.ParkingLot()  # the reader waits for room
        self._free = trio.lowlevel.ParkingLot()  # senders wait until all is sent
        self.bytes_in = 0
        self.bytes_out = 0

    @property
    def over(self) -> bool:
        """Whether the app was told, or would be, that this has ended."""
        return self._session.over is not None

    @property
    def deadline(self) -> float:
        """When ``tick`` has something to do."""
        return min(self._session.deadline, self._send_deadline)

    # the app's side

    async def receive(self) -> Message:
        """The next message; ``websocket.disconnect`` once all have been received."""
        inbox = self._inbox
        if inbox:
            await self._give_way()  # before a message is taken: this may be cancelled
        while not inbox:
            if self._session.over is not None:
                await trio.lowlevel.checkpoint()
                return dict(self._session.over)
            await self._news.park()
        message = inbox.popleft()
        self._held -= _size(message)
        if self._paused and self._has_room(2):
            self._room.unpark()
        return message

    async def send(self, payload: str | bytes) -> None:
        """Send a message and wait until the kernel has taken it: this is backpressure.

        Raises:
            ClientGone: this has ended, or the client takes nothing any more.
        """
        if self._session.over is not None or self._unwritable:
            raise ClientGone("the WebSocket is closed")
        self._write(self._session.frame(payload))
        if self._unsent:
            await self._free.park()
        if self._unwritable:
            raise ClientGone("the client is gone")
        await self._give_way()

    async def close(self, code: int, reason: str) -> None:
        """Say Close for the app; the answer is waited for by the reader alone."""
        if self._session.over is not None:
            raise ClientGone("the WebSocket is closed")
        self.close_nowait(code, reason)
        if self._unsent:
            await self._free.park()

    def close_nowait(self, code: int, reason: str = "") -> None:
        """Say Close, if nobody has."""
        self._session.close(code, reason, self._clock.now)
        self._act()

    def cut(self, code: int, reason: str) -> None:
        """We are cancelled: say Close if that can be done without waiting."""
        self._session.close(code, reason, self._clock.now)
        if not self._unsent:
            self._write(self._session.take_output())
            self._unsent.clear()

    async def _give_way(self) -> None:
        self._turns += 1
        if self._turns % TURNS == 0:
            await trio.lowlevel.checkpoint()

    # the reader

    async def read(self, data: bytes) -> None:
        """Read until the end; ``data`` is what came with the handshake."""
        with suppress(ClientGone):
            await self._read(data)
        self._session.lost()  # unless it was closed
        self._act()

    async def _read(self, data: bytes) -> None:
        session, transport = self._session, self._transport
        limit = SMALL_READ
        while True:
            if data:
                self.bytes_in += len(data)
                session.feed(data, self._clock.now)
                await self._deliver()
            if session.state is CLOSED:
                return
            with suppress(trio.ClosedResourceError):  # somebody wants us to look again
                await transport.wait_readable()
            if session.state is CLOSED:
                return
            received = transport.recv_nowait(limit)
            if received == b"":
                return
            data = received or b""
            limit = LARGE_READ if len(data) == limit else SMALL_READ

    async def _deliver(self) -> None:
        """Put what has come into the inbox, as far as there is room."""
        session, inbox = self._session, self._inbox
        while True:
            if session.state is OPEN and not self._has_room(1):
                self._act()
                self._paused = True
                try:
                    await self._room.park()
                finally:
                    self._paused = False
                continue
            message = session.next_message()
            if message is None:
                break
            inbox.append(message)
            self._held += _size(message)
            self._news.unpark()
        self._act()

    def _has_room(self, share: int) -> bool:
        """Whether the inbox is filled by less than half (share 2) or all (1) of what it may."""
        config = self._config
        return (
            len(self._inbox) * share < config.max_queue and self._held * share < config.max_size
        ) or not self._inbox

    # the writer

    def _act(self) -> None:
        """Do what follows from the session's state."""
        session = self._session
        if not self._unsent:  # else whoever sends that does it
            self._write(session.take_output())
        if not self._unsent and (session.state is CLOSED or session.state is DEAF):
            self._transport.send_eof()
        if session.over is not None:
            self._news.unpark_all()
            self._room.unpark_all()

    def _write(self, data: bytes) -> None:
        if self._unwritable or not data:
            return
        if not self._unsent:
            try:
                sent = self._transport.send_nowait(data)
            except ClientGone:
                self._unwritable = True
                return
            self.bytes_out += sent
            if sent == len(data):
                return
            data = data[sent:]
            self._send_deadline = self._clock.now + self._config.send_timeout
            self._nursery.start_soon(self._send_rest)
        self._unsent += data

    async def _send_rest(self) -> None:
        transport, unsent = self._transport, self._unsent
        try:
            while unsent:
                with suppress(trio.ClosedResourceError):
                    await transport.wait_writable()
                if self._unwritable:  # aborted
                    return
                with memoryview(unsent) as view, view[:PIECE] as piece:
                    sent = transport.send_nowait(piece)
                del unsent[:sent]
                self.bytes_out += sent
                self._send_deadline = self._clock.now + self._config.send_timeout
        except ClientGone:
            self._unwritable = True
        finally:
            unsent.clear()
            self._send_deadline = math.inf
            self._free.unpark_all()
        self._act()

    # the worker's side

    def tick(self) -> None:
        """``deadline`` has passed."""
        now = self._clock.now
        if now >= self._send_deadline:  # the client does not read
            self._abort()
            return
        self._session.tick(now, busy=self._paused or bool(self._unsent))
        if self._session.state is CLOSED and self._unsent:
            self._abort()
            return
        self._act()
        if self._session.state is CLOSED:
            self._transport.interrupt()

    def _abort(self) -> None:
        self._unwritable = True
        self._session.lost()
        self._exchange.abort()
        self._act()


def _size(message: Message) -> int:
    return len(message["text"] or message["bytes"] or b"")
