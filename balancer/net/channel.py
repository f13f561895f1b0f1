"""Control messages between the master and a worker, over an AF_UNIX stream pair.

What a message means is not known here.  Only one end of each pair is held by each process, so that
EOF is the death of the other: a worker that reads it knows that its master is gone.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Generic, TypeVar, final

import trio

from balancer.core.messages import FrameDecoder, encode_frame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from balancer.core.messages import WorkerMessage, WorkerRequest

__all__ = ["Channel"]

_T = TypeVar("_T")
READ_SIZE = 65536


@final
class Channel(Generic[_T]):
    """One end, which it owns; ``union`` is what the other end may send."""

    def __init__(self, sock: socket.socket, union: object) -> None:
        sock.setblocking(False)
        self._sock = trio.socket.from_stdlib_socket(sock)
        self._decoder: FrameDecoder[_T] = FrameDecoder(union)
        self._sending = trio.Lock()

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        """Two ends."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)

    async def send(self, message: WorkerMessage | WorkerRequest, *, seconds: float = 5.0) -> bool:
        """Send a message; False when the other end is gone or doesn't read for so long.

        A message that was cut by the deadline leaves the channel unusable, so it is closed.
        """
        frame = memoryview(encode_frame(message))
        with trio.move_on_after(seconds) as scope:
            async with self._sending:
                try:
                    while frame:
                        frame = frame[await self._sock.send(frame, socket.MSG_NOSIGNAL) :]
                except (OSError, trio.ClosedResourceError):
                    return False
        if scope.cancelled_caught:
            self.close()
        return not scope.cancelled_caught

    async def messages(self) -> AsyncGenerator[_T, None]:
        """What the other end says, until it is gone; ProtocolError when that is no message."""
        while True:
            try:
                data = await self._sock.recv(READ_SIZE)
            except (OSError, trio.ClosedResourceError):
                return
            if not data:
                return
            for message in self._decoder.feed(data):
                yield message

    def close(self) -> None:
        """Close it; idempotent.  Who waits on it is told."""
        self._sock.close()
