"""When a slot gets its next worker, and when the master gives up.

Two questions with two answers, because they are two situations:

* *It has worked before.*  A worker that had been ready is replaced at once, so that a crash costs
  milliseconds of one worker, up to ``BURST`` deaths within a second.  Beyond that, and for deaths
  before ready, the slot backs off: 0.1 s, doubled each time, at most 15 s, and back to the start
  after a worker has been ready for 10 s.  The master never exits by itself.
* *It has never worked* (``BootGate``).  An app that can't be imported won't be importable in the
  next process either: exit 4 at once.  Anything else may be a race with the machine's own start:
  exit 3 after three failures.

The jitter keeps many slots, and many machines, from knocking at a database in step.

Source: einhorn's back-off by consecutive deaths before the ack, PM2's restart delay (cap 15 s);
gunicorn's exit codes 3 and 4.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import final

from balancer.errors import ExitCode

__all__ = ["BURST", "CAP", "FIRST", "SETTLED", "BootGate", "Respawn"]

BURST = 5
"""Deaths of ready workers within a second that are answered at once."""
FIRST = 0.1
"""The first delay, in seconds."""
CAP = 15.0
"""The longest delay, in seconds."""
SETTLED = 10.0
"""Seconds of being ready after which everything is forgiven."""

BOOT_TRIES = 3


@final
@dataclass(slots=True)
class Respawn:
    """The memory of one slot.  Times are seconds of one monotonic clock."""

    _deaths: deque[float] = field(default_factory=lambda: deque(maxlen=BURST))
    _failures: int = 0

    def died(self, now: float, ready_at: float | None, jitter: float) -> float:
        """The delay in seconds until the next worker; ``jitter`` is a random number in [0, 1).

        ``ready_at`` is when the dead worker became ready, None if it never did.
        """
        if ready_at is not None and now - ready_at >= SETTLED:
            self._deaths.clear()
            self._failures = 0
        burst = len(self._deaths) == BURST and now - self._deaths[0] < 1.0
        self._deaths.append(now)
        if ready_at is not None and not burst:
            return 0.0
        # 2.0 ** 8 × 0.1 s is past the cap; without the min the power would overflow in the end
        delay = min(CAP, FIRST * 2.0 ** min(self._failures, 8))
        self._failures += 1
        return delay * (1 - jitter / 4)


@final
@dataclass(slots=True)
class BootGate:
    """Decides, until the first worker is ready, whether a failed start ends the master."""

    passed: bool = False
    _failures: int = 0

    def failed(self, code: ExitCode) -> ExitCode | None:
        """A worker died before it was ready: the exit code to end with, or None to try on."""
        if self.passed:
            return None
        self._failures += 1
        if code is ExitCode.APP:
            return ExitCode.APP
        return ExitCode.BOOT if self._failures >= BOOT_TRIES else None
