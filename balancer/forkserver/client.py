"""The master's view of a fork server: start it, ask it for workers, hear what became of them."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, final

import trio

from balancer.core.messages import (
    Configure,
    ForkServerMessage,
    Guard,
    PacketDecoder,
    ProtocolError,
    Spawn,
    encode_packet,
)
from balancer.forkserver.launch import launch
from balancer.net.packets import NoRoomError, recv_packet, send_packet

if TYPE_CHECKING:
    import socket
    import subprocess
    from collections.abc import AsyncIterator

__all__ = ["ForkServer"]


@final
class ForkServer:
    """A running fork server; owns its socket, its process and the pidfd of that.

    It must be kept until the last of its workers is gone: closing it tells it that the master is
    dead.
    """

    def __init__(self, process: subprocess.Popen[bytes], pidfd: int, sock: socket.socket) -> None:
        self._process = process
        self._pidfd = pidfd
        self._reaping = trio.Lock()
        self._sock = sock
        self._decode = PacketDecoder[ForkServerMessage](ForkServerMessage)
        self.alive = True
        self._sending = trio.Lock()

    @classmethod
    async def start(cls, configure: Configure) -> ForkServer:
        """Start one; it says ``Warm`` or ``PreloadFailed`` when it has imported everything."""
        launched = await trio.to_thread.run_sync(launch, configure.entry)  # until exec() is done
        server = cls(launched.process, launched.pidfd, launched.sock)
        with suppress(BrokenPipeError):  # it has died: ``messages`` says so
            send_packet(launched.sock, encode_packet(configure))
        return server

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def spawn(self, spawn: Spawn, fds: list[int]) -> bool:
        """Ask for a worker; False when the fork server is gone.  The fds stay the caller's."""
        return await self._send(encode_packet(spawn), fds)

    async def guard(self, pidfds: list[int]) -> None:
        """Make it responsible for up to ``MAX_FDS`` workers of a fork server that has died."""
        await self._send(encode_packet(Guard()), pidfds)

    async def messages(self) -> AsyncIterator[tuple[ForkServerMessage, list[int]]]:
        """What it says, with fds that the caller owns, until it is gone or closed.

        The fds are missing when there was no room for them.

        Raises:
            ProtocolError: it said what is no message.
        """
        while self.alive:
            try:
                packet, fds = recv_packet(self._sock)
            except BlockingIOError:
                if not await self._readable():
                    break
                continue
            except NoRoomError as error:
                packet, fds = error.packet, []
            if not packet:
                break
            try:
                message = self._decode(packet)
            except ProtocolError:
                for fd in fds:
                    os.close(fd)
                raise
            yield message, fds
        self.alive = False

    async def _readable(self) -> bool:
        """Wait for the next packet; False when this end was closed meanwhile."""
        try:
            await trio.lowlevel.wait_readable(self._sock)
        except trio.ClosedResourceError:
            return False
        return True

    async def wait(self) -> int:
        """Reap it; its exit code."""
        async with self._reaping:  # only one task may wait for the pidfd
            if self._pidfd >= 0:
                await trio.lowlevel.wait_readable(self._pidfd)
                os.close(self._pidfd)
                self._pidfd = -1
        return self._process.wait()

    def kill(self) -> None:
        """End it at once; its workers live on."""
        self._process.kill()

    def close(self) -> None:
        """Let it go: it leaves when its last worker has, or kills them after their time."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
        self.alive = False

    async def _send(self, packet: bytes, fds: list[int]) -> bool:
        async with self._sending:  # only one task may wait for the socket
            while self.alive:
                try:
                    return send_packet(self._sock, packet, fds)
                except BlockingIOError:
                    if not await self._writable():
                        break
        return False

    async def _writable(self) -> bool:
        """Wait for room for a packet; False when this end was closed meanwhile."""
        try:
            await trio.lowlevel.wait_writable(self._sock)
        except trio.ClosedResourceError:
            return False
        return True
