"""The bytes of one connection, with deadlines: the floor that ``connection`` stands on.

A wait has no cancel scope, but a deadline in an attribute.  When it has passed, the reaper
interrupts the transport (``Http1Server.tick``), and who was waiting finds out here whether it was
for its sake.  The reader's and the writer's deadlines are two, because both may wait.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, final

import trio

from balancer.http1.errors import ClientGone

if TYPE_CHECKING:
    from balancer.http1.shared import Shared
    from balancer.http1.transport import Transport

__all__ = ["HEAD_READ", "DeadlinePassed", "Wire"]

HEAD_READ = 16384


@final
class DeadlinePassed(Exception):  # noqa: N818 - an event between two methods here
    """The reaper woke a wait because its deadline passed."""


class Wire:
    """Reads and writes one connection; the transport's owner closes it."""

    __slots__ = (
        "_broken",
        "buffer",
        "bytes_in",
        "bytes_out",
        "deadline",
        "send_deadline",
        "shared",
        "transport",
    )

    def __init__(self, transport: Transport, shared: Shared) -> None:
        self.transport = transport
        self.shared = shared
        self.buffer = b""
        """What has come and was not used yet."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.deadline = math.inf
        """Of the reader, on the reaper's clock."""
        self.send_deadline = math.inf
        self._broken = False

    async def receive(self, limit: int) -> bytes:
        """Wait for bytes, at most until ``self.deadline``; b"" at the end.

        Raises:
            DeadlinePassed: the deadline is over.
            ClientGone: the connection broke.
        """
        transport = self.transport
        while True:
            try:
                await transport.wait_readable()
            except trio.ClosedResourceError:
                self._note_interrupt()
                continue
            data = transport.recv_nowait(limit)
            if data is not None:
                self.bytes_in += len(data)
                return data

    def _note_interrupt(self) -> None:
        """A wait was interrupted: raise why, or return when it was not for its sake."""
        if self._broken:
            raise ClientGone("the connection was aborted") from None
        if self.shared.now >= self.deadline:
            raise DeadlinePassed from None

    async def receive_undisturbed(self, limit: int) -> bytes:
        """``receive`` without a deadline, beside a send that has one."""
        self.deadline = math.inf
        self._refuse_broken()
        return await self.receive(limit)

    async def send(self, data: bytes) -> None:
        """Send everything; the wait for the kernel to take it is the backpressure.

        Raises:
            ClientGone: the connection broke, or the client took nothing for ``send_timeout``.
        """
        self._refuse_broken()
        transport = self.transport
        sent = transport.send_nowait(data)
        self.bytes_out += sent
        if sent < len(data):
            await self._send_rest(memoryview(data)[sent:])

    async def _send_rest(self, rest: memoryview) -> None:
        shared = self.shared
        self._broken = True  # until all is sent: a cancelled write leaves half a message
        try:
            while rest:
                self.send_deadline = shared.now + shared.config.send_timeout
                await self._wait_writable()
                sent = self.transport.send_nowait(rest)
                self.bytes_out += sent
                rest = rest[sent:]
        finally:
            self.send_deadline = math.inf
        self._broken = False

    async def _wait_writable(self) -> None:
        while True:
            try:
                await self.transport.wait_writable()
            except trio.ClosedResourceError:
                if self.shared.now >= self.send_deadline:
                    self.abort()
                    raise ClientGone("the client does not read") from None
            else:
                return

    def _refuse_broken(self) -> None:
        if self._broken:
            raise ClientGone("the connection was aborted, or a write to it cancelled")

    def abort(self) -> None:
        """Reset the connection: a response broke off."""
        self._broken = True
        self.transport.abort()

    async def _linger(self) -> None:
        """Half-close, then discard what the client had sent before it could see that."""
        config = self.shared.config
        self.transport.send_eof()
        self.deadline = self.shared.now + config.linger
        budget = config.linger_bytes
        try:
            while budget > 0:
                data = await self.receive(HEAD_READ)
                if not data:
                    return
                budget -= len(data)
        except (DeadlinePassed, ClientGone):
            return
