"""Is an endpoint fit for requests?  Probes, failures in passing, and what to do when all look ill.

Three sources, each reversible, and an endpoint is ready when none of them speaks against it:

* the operator has *drained* it;
* probes have found it *down*: ``fall`` in a row must fail, and ``rise`` in a row pass to bring it
  back (``Probation``);
* requests that failed have *ejected* it for a while: ``after`` in a row, over all workers
  (``ejection``).  It comes back by itself; each time it is out again for longer, and health makes
  up for that.

Three rules keep this from doing more harm than the illness: at most a part of the endpoints is
ejected at a time; when too few are ready, what we believe is more likely wrong than all of them
ill, and all but the drained are used (*panic*); and one that comes back gets its share step by step
(*slow start*).

Times are seconds of one monotonic clock.  Source: HAProxy's ``rise``, ``fall`` and ``slowstart``;
Envoy's outlier detection, panic threshold and least share of a slow start.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import final

__all__ = [
    "LEAST_SHARE",
    "LONGEST",
    "Availability",
    "EjectionConfig",
    "Probation",
    "availability",
    "ejection",
    "panics",
    "remembered",
    "share",
]

LONGEST = 300.0
"""The longest ejection, in seconds."""
LEAST_SHARE = 0.1
"""The part of its weight that an endpoint begins with: with none it would never warm up."""


@final
class Probation:
    """What probes say of one endpoint.  It counts as up until they have shown that it isn't."""

    __slots__ = ("_fall", "_rise", "against", "up")

    def __init__(self, rise: int = 2, fall: int = 3, *, up: bool = True, against: int = 0) -> None:
        self._rise = rise
        self._fall = fall
        self.up = up
        self.against = against
        """Results in a row that contradict ``up``."""

    def passed(self) -> bool:
        """A probe got its answer; True if that has brought the endpoint up."""
        return self._result(up=True)

    def failed(self) -> bool:
        """A probe didn't; True if that has brought the endpoint down."""
        return self._result(up=False)

    def _result(self, *, up: bool) -> bool:
        if up is self.up:
            self.against = 0
            return False
        self.against += 1
        if self.against < (self._rise if up else self._fall):
            return False
        self.up = up
        self.against = 0
        return True


@final
@dataclass(frozen=True, slots=True)
class EjectionConfig:
    """When requests that failed take an endpoint out."""

    after: int = 5
    """Failures in a row; 0 never ejects."""
    time: float = 10.0
    """Seconds of the first ejection, and of health that make up for one (> 0)."""
    most: float = 50
    """Per cent of the endpoints that may be ejected at a time."""


def ejection(
    run: int, already: int, ejected: int, total: int, config: EjectionConfig
) -> float | None:
    """How long to eject an endpoint for that has just failed, in seconds; None: not at all.

    Args:
        run: Its failures in a row, over all workers.
        already: The ejections that still count against it (``remembered``).
        ejected: The endpoints that are ejected now, of ``total``; this one isn't among them.
        total: All endpoints.
        config: The limits.
    """
    if not 0 < config.after <= run:
        return None
    if (ejected + 1) * 100 > config.most * total:
        return None
    return min(config.time * (already + 1), LONGEST)


def remembered(ejections: int, until: float, now: float, config: EjectionConfig) -> int:
    """How many of its ejections still count against an endpoint.

    One less for every ``config.time`` of health; and never more than the longest ejection takes, so
    that a long illness is not held against it for hours.

    Args:
        ejections: What was remembered at the last ejection, and that one.
        until: When the last ejection ended, or ends.
        now: The time.
        config: The limits.
    """
    healthy = max(0.0, now - until)
    counting = min(ejections, int(LONGEST / config.time))
    return max(0, counting - int(healthy / config.time))


class Availability(Enum):
    """Whether an endpoint may get requests, and the first reason why not."""

    READY = "ready"
    DRAINED = "drained"  # by the operator: nothing overrides that
    DOWN = "down"  # by probes
    EJECTED = "ejected"  # by requests that failed


def availability(*, drained: bool, down: bool, ejected_until: float, now: float) -> Availability:
    """What the three sources together say."""
    if drained:
        return Availability.DRAINED
    if down:
        return Availability.DOWN
    return Availability.EJECTED if now < ejected_until else Availability.READY


def panics(ready: int, total: int, threshold: float) -> bool:
    """Whether so few are ready that we had better not believe it.

    Args:
        ready: How many are ready, of ``total``.
        total: All that aren't drained: what the operator does on purpose is no reason to panic.
        threshold: In per cent; 0 never panics.
    """
    return ready * 100 < threshold * total


def share(since: float, now: float, slow_start: float) -> float:
    """The part of its weight that an endpoint has, from 0.1 to 1, rising evenly.

    Args:
        since: Since when it is available.
        now: The time.
        slow_start: How long the start takes, in seconds; 0 is at once.
    """
    # The clock is read by several processes: ``since`` may be a moment ahead.
    if slow_start <= 0 or now - since >= slow_start:
        return 1.0
    return max(LEAST_SHARE, (now - since) / slow_start)
