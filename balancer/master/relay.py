"""What a suspect worker prints to its stderr: passed on to ours, and the end of it remembered.

Workers have the server's own stderr: nothing of what they print goes through the master, and
nothing of it depends on the master.  Only a slot whose last worker has died unexpectedly is
*suspect*, and the next one in it gets a pipe instead, so that ``balancer status`` can show what a
crash loop says at its end.  Everybody's stderr through pipes would explain the first crash, too; it
would cost every app its colours on a terminal and every line a way through the master.

Lines are passed on whole, in pieces that a pipe takes at once, so that those of several workers
don't mix.  Reading is paced (``PACE``): a worker that prints without end waits for its own pipe,
and takes from the master what it takes at most.  Who reads *our* stderr and has stopped doing so
holds up nobody: after ``PATIENCE`` lines are dropped and counted, as in the log, until one gets
through.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

import trio

from balancer.core.tail import LONGEST, Tail

if TYPE_CHECKING:
    from balancer.log import Outlet

__all__ = ["Relay", "Stderr"]

CHUNK = 64 * 1024
"""Bytes read at once: all that a pipe holds."""
PACE = 0.005
"""Seconds from one reading to the next."""
PATIENCE = 1.0
"""Seconds for who reads our stderr to make room for a piece."""


@final
class Stderr:
    """The server's stderr, for all relays: whole lines, one relay at a time."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._turn = trio.Lock()
        self._stuck = False
        self._lost = 0

    def close(self) -> None:
        """Close what it has besides fd 2."""
        self._outlet.close()

    async def write(self, lines: bytes) -> None:
        """Write lines, or drop and count those that find no room in time."""
        async with self._turn:
            for piece in _pieces(lines):
                if self._lost and await self._write(b"(%d lines were lost here)\n" % self._lost):
                    self._lost = 0
                if not await self._write(piece):
                    self._lost += piece.count(b"\n")

    async def _write(self, data: bytes) -> bool:
        try:
            while data:
                written = self._outlet.write_some(data)
                data = data[written:]
                if not written and not await self._room():
                    return False
        except OSError:  # EPIPE, EIO, ENOSPC: there is nobody to tell
            return False
        self._stuck = False
        return True

    async def _room(self) -> bool:
        if not self._stuck:  # else until a piece gets through, the others don't wait
            with trio.move_on_after(PATIENCE):
                await trio.lowlevel.wait_writable(self._outlet.fileno())
                return True
        self._stuck = True
        return False


def _pieces(lines: bytes) -> list[bytes]:
    """Cut behind lines, into what is written in one piece."""
    pieces = []
    while len(lines) > LONGEST:
        end = lines.rfind(b"\n", 0, LONGEST) + 1 or LONGEST
        pieces.append(lines[:end])
        lines = lines[end:]
    return [*pieces, lines] if lines else pieces


@final
class Relay:
    """One worker's pipe; owns its reading end, until ``run`` ends."""

    def __init__(self, fd: int, stderr: Stderr) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._stderr = stderr
        self._tail = Tail()
        self._ready = b""  # lines that are read, and not passed on yet

    async def run(self) -> None:
        """Pass on what comes, until all are gone who can write: the worker, and what it started."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._fd)
                open_ = self._read()
                await self._pass_on()
                if not open_:
                    break
                await trio.sleep(PACE)
        finally:
            os.close(self._fd)
            self._fd = -1

    async def last_words(self) -> str:
        """The worker is dead: the end of what it wrote, once all of it is passed on."""
        if self._fd >= 0:
            self._read()
        self._ready += self._tail.finish()
        await self._pass_on()
        return self._tail.text

    def _read(self) -> bool:
        """Read what is there, at most what a pipe holds; False at its end."""
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return True
        self._ready += self._tail.feed(data) if data else self._tail.finish()
        return bool(data)

    async def _pass_on(self) -> None:
        lines, self._ready = self._ready, b""
        await self._stderr.write(lines)
