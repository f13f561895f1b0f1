"""Whether the dispatch loop moves: rung like a bell through what the loop waits for.

That the master's other tasks run says little, as its loop could be waiting for something that
never comes, or could be told of nothing any more.  So a health check and systemd's watchdog ask by
way of the loop's own epoll, and hear of it when the loop has heard them.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from select import epoll

__all__ = ["Pulse"]


@final
class Pulse:
    """A bell in an epoll; owns its descriptor.  Costs nothing while nobody rings."""

    def __init__(self, epoll: epoll) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._heard: trio.Event | None = None  # somebody waits for it
        epoll.register(self._fd, select.EPOLLIN)

    async def beat(self) -> None:
        """Ring, and wait until the loop has heard it: for ever, if it doesn't move."""
        if self._heard is None:
            self._heard = trio.Event()
            os.eventfd_write(self._fd, 1)
        await self._heard.wait()

    def hear(self, fd: int) -> None:
        """The loop was told of a descriptor that isn't anybody else's."""
        if fd != self._fd:
            return
        os.eventfd_read(self._fd)
        if self._heard is not None:
            self._heard.set()
            self._heard = None

    def close(self) -> None:
        """Once, after the loop."""
        os.close(self._fd)
