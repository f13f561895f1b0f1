"""A worker's end of the control channel on asyncio; see ``net.channel`` for trio's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast, final

from balancer.core.messages import FrameDecoder, WorkerRequest, encode_frame

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator

    from balancer.core.messages import WorkerMessage

__all__ = ["Channel"]

FLUSH = 5.0
"""Seconds for the master to read the last words."""


@final
class Channel(asyncio.Protocol):
    """Owns its socket once it is open.  To send never waits: the loop keeps what has no room."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self._closed = asyncio.Event()

    @classmethod
    async def open(cls, sock: socket.socket) -> Channel:
        """The channel on this end of the stream pair."""
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_unix_connection(cls, sock=sock)
        return channel

    def send(self, message: WorkerMessage) -> None:
        """Send a message; one to a master that is gone is dropped."""
        if not self._transport.is_closing():
            self._transport.write(encode_frame(message))

    async def messages(self) -> AsyncGenerator[WorkerRequest, None]:
        """What the master says, until it is gone; ProtocolError when that is no message."""
        decoder: FrameDecoder[WorkerRequest] = FrameDecoder(WorkerRequest)
        while data := await self._pieces.get():
            for message in decoder.feed(data):
                yield message

    async def aclose(self) -> None:
        """Close it when what was sent has left."""
        self._transport.close()
        try:
            await asyncio.wait_for(self._closed.wait(), FLUSH)
        except TimeoutError:
            self._transport.abort()

    # -- asyncio's side -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are no subclass
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._pieces.put_nowait(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - a reset is an end too
        self._pieces.put_nowait(b"")
        self._closed.set()
