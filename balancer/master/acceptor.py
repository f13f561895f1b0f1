"""From a listener into its lane's queue, with the client's address where the policy asks for it.

The key of a connection is the client's address without the port, as text, so that whatever a
client opens has the same one.  It is the address of the *connection*: behind another proxy, the
proxy's.  (What ``X-Forwarded-For`` or the PROXY protocol say of others is in the stream, which
only a worker reads.)  Clients on UNIX sockets have no address, and so no key.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, final

from balancer.net.listener import accept_batch

if TYPE_CHECKING:
    from balancer.core.scheduler import Scheduler
    from balancer.net.listener import Listener

__all__ = ["BATCH", "Acceptor"]

logger = logging.getLogger("balancer")

BATCH = 64
"""Connections accepted in one go."""


@final
class Acceptor:
    """Accepts for the scheduler, whose the connections are; ``keyed``: with their keys."""

    def __init__(self, scheduler: Scheduler, *, keyed: bool) -> None:
        self._scheduler = scheduler
        self._keyed = keyed

    def accept(self, listener: Listener, most: int) -> tuple[int, OSError | None]:
        """Accept what waits; how many that were, and what ended it if descriptors ran out."""
        accepted, lane = self._scheduler.accepted, listener.lane
        if self._keyed:
            keys: list[bytes] = []
            fds, exhausted = accept_batch(listener.sock, most, keys)
            for fd, key in zip(fds, keys, strict=True):
                accepted(lane, fd, key)
        else:
            fds, exhausted = accept_batch(listener.sock, most)
            for fd in fds:
                accepted(lane, fd)
        return len(fds), exhausted

    def finish(self, listener: Listener) -> None:
        """Accept everything that waits, whatever the queue's bound, and close the listener.

        Who waits on one that is lent is the other master's.
        """
        if listener.lent:
            listener.close()
            return
        listener.deafen()
        count, exhausted = BATCH, None
        while count and exhausted is None:
            count, exhausted = self.accept(listener, BATCH)
        # Nobody comes between the last look and this: the close resets who waits then.
        listener.close()
        if exhausted is not None:
            logger.warning(
                "%s: no file descriptors left for the connections that wait; they are reset",
                listener.address,
            )
