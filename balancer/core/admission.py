"""Which connections a worker takes: the other end of the scheduler's ``refused`` and ``room``.

Decided apart from any event loop, so that a shell on another loop answers the same.  The order of
things around an answer is the shell's promise: the count goes up *before* an ack leaves (so that
the master never sees less than there is), and the ack leaves before the connection is touched.
"""

from __future__ import annotations

from enum import Enum
from typing import final

from balancer.core.books import Refusal

__all__ = ["Admission", "Doors"]


class Doors(Enum):
    """Whether a worker takes connections."""

    OPEN = "open"
    CLOSED = "closed"  # draining


@final
class Admission:
    """Counts a worker's connections against its limit."""

    __slots__ = ("_told_full", "active", "doors", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.active = 0
        self.doors = Doors.OPEN
        self._told_full = False

    @property
    def open(self) -> bool:
        """Whether the next connection would be taken."""
        return self.doors is Doors.OPEN and self.active < self.limit

    def offered(self, *, received: bool) -> Refusal | None:
        """A connection is offered: None takes it; ``received`` says that its fd has arrived."""
        if self.doors is Doors.CLOSED:
            return Refusal.DRAINING
        if not received:
            return Refusal.NO_FDS
        if self.active >= self.limit:
            self._told_full = True
            return Refusal.FULL
        self.active += 1
        return None

    def ended(self) -> bool:
        """A connection is done; True when the master waits to hear that there is room."""
        self.active -= 1
        if self._told_full and self.open:
            self._told_full = False
            return True
        return False
