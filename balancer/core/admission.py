"""Which connections a worker takes: the other end of the scheduler's ``refused`` and ``room``.

Decided apart from any event loop, so that a shell on another loop answers the same.  The order of
things around an answer is the shell's promise: the count goes up *before* an ack leaves (so that
the master never sees less than there is), and the ack leaves before the connection is touched.
"""

from __future__ import annotations

import math
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
    """Counts a worker's connections against its limit, and its app's requests against its seats.

    A *seat* is what an app needs for a request and has few of: a thread.  A connection that comes
    when none is free would wait here for one, while another worker may have one: it is refused,
    as one over the limit is.  A request on a connection that is here already must wait; so the
    seats say when to take connections, and nothing about how many there are.
    """

    __slots__ = ("_told_full", "active", "doors", "limit", "seats", "shut")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.active = 0
        self.seats: float = math.inf
        """How many more requests could begin now; what never waits has no end of them."""
        self.doors = Doors.OPEN
        self.shut: set[int] = set()  # lanes that the app has closed
        self._told_full = False

    @property
    def room(self) -> int:
        """How many more connections would be taken, one after the other, before any of them ends
        and if each brings a request at once."""
        if self.doors is Doors.CLOSED:
            return 0
        left = self.limit - self.active
        return max(0, left if left <= self.seats else int(self.seats))

    @property
    def open(self) -> bool:
        """Whether the next connection would be taken."""
        return self.doors is Doors.OPEN and self.active < self.limit and self.seats > 0

    def offered(self, *, received: bool, lane: int = 0) -> Refusal | None:
        """A connection is offered: None takes it; ``received`` says that its fd has arrived."""
        if self.doors is Doors.CLOSED:
            return Refusal.DRAINING
        if lane in self.shut:
            return Refusal.SHUT
        if not received:
            return Refusal.NO_FDS
        if self.active >= self.limit or self.seats <= 0:
            self._told_full = True
            return Refusal.FULL
        self.active += 1
        return None

    def ended(self) -> bool:
        """A connection is done; True when the master waits to hear that there is room."""
        self.active -= 1
        return self._speaks_up()

    def seated(self, free: float) -> bool:
        """So many seats are free now; True as in ``ended``."""
        self.seats = free
        return self._speaks_up()

    def reopened(self) -> bool:
        """The doors are open again; True as in ``ended``."""
        self.doors = Doors.OPEN
        return self._speaks_up()

    def _speaks_up(self) -> bool:
        if self._told_full and self.open:
            self._told_full = False
            return True
        return False
