"""Peak-EWMA: the member that would answer first, by its latency and what it has to do already.

Algorithm: every member has an average of its latencies, weighted by age (a time constant of
``DECAY``).  It is a pessimist: a latency above the average takes over at once, one below only as
the old one ages.  The cost of a pick is ``average × (load + 1) / weight``, and the lowest is taken;
among equals the one that has waited longest.  An average that nobody renews decays, so a member
that was slow is tried again after a while.

Time needs no clock here: all averages decay at the same pace, so which of two is lower doesn't
change with time, and logarithms of them can be compared as of any moment.

Who has never been measured is tried with one request at a time: before all others while it is idle,
after all others while it is busy.  Otherwise a new member would get everything until its first
answer.

Cost: O(n) for a pick, O(1) for a measurement.  Right for servers that differ, or that slow down now
and then (garbage collection, noisy neighbours): it reacts within one request.  Wrong where latency
is the request's and not the server's (a slow report makes its server look bad), and above all for a
member that fails fast: a failure must count as the longest time that it could have taken, and
ejection belongs beside it.

Source: Finagle's ``PeakEwma`` and Linkerd's (time constant 10 s), which draw two and compare; here
everybody is compared, because the load is the machine's and not one client's.
"""

from __future__ import annotations

from math import exp, log
from typing import ClassVar, final

__all__ = ["DECAY", "Ewma"]

DECAY = 10.0
"""Seconds after which a latency counts for 1/e of what it did."""
_LEAST = 1e-6
"""The lowest latency that is told from none, in seconds: a logarithm needs one."""


@final
class _Average:
    """One member's latency in seconds, as of the time ``at``."""

    __slots__ = ("at", "level", "seconds")

    def __init__(self, seconds: float, at: float) -> None:
        self.seconds = seconds
        self.at = at
        self._relevel()

    def observe(self, seconds: float, now: float) -> None:
        now = max(now, self.at)
        if seconds < self.seconds:
            old = exp((self.at - now) / DECAY)
            seconds = seconds * (1 - old) + self.seconds * old
        self.seconds = seconds
        self.at = now
        self._relevel()

    def _relevel(self) -> None:
        # The logarithm of what the average would have been at time 0, comparable with all others.
        self.level = log(self.seconds) + self.at / DECAY


@final
class Ewma:
    """Averages by member, which outlive a member's absence but not its end."""

    __slots__ = ("_averages", "_offered")

    uses_load: ClassVar[bool] = True
    uses_key: ClassVar[bool] = False

    def __init__(self) -> None:
        self._averages: dict[int, _Average] = {}
        self._offered: dict[int, tuple[float, float]] = {}  # load and weight, oldest offer first

    def observe(self, member: int, seconds: float, now: float) -> None:
        """A member took so long to answer: to the response's head, in seconds.

        Where it failed, say the longest that it could have taken: never measured, it would be
        tried first each time.  ``now`` is a monotonic clock's, the same for all calls.
        """
        seconds = max(seconds, _LEAST)
        average = self._averages.get(member)
        if average is None:
            self._averages[member] = _Average(seconds, now)
        else:
            average.observe(seconds, now)

    def latency(self, member: int, now: float) -> float | None:
        """A member's average in seconds as it is now; None if it was never measured."""
        average = self._averages.get(member)
        if average is None:
            return None
        return average.seconds * exp(min(0.0, average.at - now) / DECAY)

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:
        self._offered[member] = (load, weight)

    def withdraw(self, member: int) -> None:
        self._offered.pop(member, None)

    def forget(self, member: int) -> None:
        self._offered.pop(member, None)
        self._averages.pop(member, None)

    def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
        if not self._offered:
            return None
        best = min(self._offered, key=self._cost)
        del self._offered[best]
        return best

    def _cost(self, member: int) -> tuple[int, float]:
        load, weight = self._offered[member]
        average = self._averages.get(member)
        if average is None:
            return (2, (load + 1) / weight) if load else (0, 0.0)
        return 1, average.level + log((load + 1) / weight)

    def __len__(self) -> int:
        return len(self._offered)
