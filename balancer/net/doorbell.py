"""One worker wakes another: an empty datagram to an abstract address that both can work out.

What there is to know stands in shared memory, which wakes nobody.  So who has changed something
that another worker waits for rings there.  A ring means nothing but "look again": anybody on the
machine may send one, and it may get lost where the bell has rung already.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Doorbell"]


@final
class Doorbell:
    """Rings at workers, and hears its own worker's bell; owns its sockets.

    Args:
        table: The descriptor of what the workers share: who has the same one has the same bells.
        row: The worker whose bell is heard here; None: none.
        pool: What it is about: a worker has a bell for each of its pools.
    """

    def __init__(self, table: int, row: int | None = None, pool: int = 0) -> None:
        shared = os.fstat(table)
        self._prefix = f"\0balancer-{shared.st_dev:x}-{shared.st_ino:x}-"
        self._pool = pool
        self._out = _datagrams()
        self._bell: socket.socket | None = None
        if row is not None:
            self._bell = _datagrams()
            # Somebody else may have taken the name, for it is guarded by nobody: then who waits
            # here finds out by looking again from time to time.
            with suppress(OSError):
                self._bell.bind(f"{self._prefix}{pool}-{row}")

    def ring(self, row: int, pool: int | None = None) -> None:
        """Wake that worker, if it lives and isn't awake already; None: about the same pool."""
        pool = self._pool if pool is None else pool
        with suppress(OSError):  # ECONNREFUSED: nobody is there; EAGAIN: it has rung already
            self._out.sendto(b"", f"{self._prefix}{pool}-{row}")

    async def listen(self, answer: Callable[[], None]) -> None:
        """Call ``answer`` whenever it has rung, until ``close``."""
        assert self._bell is not None
        with suppress(trio.ClosedResourceError):
            while True:
                await trio.lowlevel.wait_readable(self._bell)
                with suppress(OSError):
                    while True:
                        self._bell.recv(1)
                answer()

    def close(self) -> None:
        """Close the sockets; idempotent."""
        self._out.close()
        if self._bell is not None:
            trio.lowlevel.notify_closing(self._bell)
            self._bell.close()


def _datagrams() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
