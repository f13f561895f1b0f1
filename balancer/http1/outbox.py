"""Answers that wait for a moment, to leave together.

A ``send`` wakes the client that sleeps on the other end, which costs more than the copying: 8 of
some 39 microseconds of a small request with 64 clients, because the two run on different cores.
When many requests have come at once, their answers may as well leave at once: the first send wakes
the client, and the others find it awake.  libuv and nginx do so by writing at the end of a turn.

What is held back is bounded three ways:

* nothing is held when a connection suspends, or when no other request is there to be answered;
* nothing is held for longer than ``AGE``, looked at after every answer;
* one slow handler would keep the answers of the quick ones before it, so for a while after a step
  took ``SLOW``, every answer leaves at once.

Only the leader collects (``http1.poller``), only while it drives a connection, and only complete
responses behind which the connection is idle: whatever else a connection says is sent directly,
behind what is held of its own.
"""

from __future__ import annotations

from time import perf_counter
from typing import Protocol, final

__all__ = ["Outbox", "Sender"]

AGE = 0.0003
"""Seconds an answer may wait for others: some ten small requests."""
SLOW = 0.001
"""Seconds of one step after which the next answers are not held."""
HURRY = 1000
"""How many answers those are."""


class Sender(Protocol):
    """Who has something in the outbox."""

    def release(self) -> None:
        """Send what is held, or see to it; raises nothing."""


@final
class Outbox:
    """Who has answers to send, in order; owns nothing but the list."""

    __slots__ = ("_began", "_hurry", "_senders", "_since", "collecting")

    def __init__(self) -> None:
        self.collecting = False
        """Whether an answer may be held: its sender must ``add`` itself then."""
        self._senders: list[Sender] = []
        self._since = 0.0
        self._began = 0.0
        self._hurry = 0

    def add(self, sender: Sender) -> None:
        """Remember a sender until the next flush."""
        if not self._senders:
            self._since = self._began
        self._senders.append(sender)

    def begin(self) -> None:
        """A connection is about to be driven."""
        self._began = perf_counter()
        self.collecting = not self._hurry

    def end(self, *, last: bool) -> None:
        """It has been, and is idle or over; ``last``: no other waits to be."""
        self.collecting = False
        now = perf_counter()
        if now - self._began > SLOW:
            self._hurry = HURRY
        elif self._hurry:
            self._hurry -= 1
        if self._senders and (last or now - self._since > AGE):
            self.flush()

    def flush(self) -> None:
        """Everybody sends; nothing is collected until the next ``begin``."""
        self.collecting = False
        senders, self._senders = self._senders, []
        for sender in senders:
            sender.release()
