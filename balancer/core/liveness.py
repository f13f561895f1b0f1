"""Is a worker alive?  Its heartbeat counter against the master's own ticks.

The worker's event loop raises a counter every ``TICK`` seconds; the master looks at the same pace
and counts *its own* ticks without a change, never seconds of a clock.  A tick that comes late (the
machine slept, the terminal sent ^Z, somebody said `docker pause`) proves that time passed without
anybody running: all counts start again.  A worker is judged only by time in which the master ran.

    no change for 1 s           SILENT: no new connections; reversible
    a change after that         BEAT
    no change for the timeout   DUMP: it is asked for its stacks (SIGABRT, faulthandler)
    one second later            KILL

Source: uvicorn's five-second ping-and-kill is the example of how not to; HAProxy's watchdog and
unicorn's shared-memory tick, which is skipped after a suspend, of how to.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SILENCE", "TICK", "Liveness", "Verdict"]

TICK = 0.25
"""Seconds between two heartbeats, and between two looks."""
SILENCE = 1.0
"""Seconds without a heartbeat after which a worker gets no new connections."""
GRACE = 1.0
"""Seconds from the stack dump to the kill."""
LATE = 3 * TICK
"""A look that comes later than this after the last one says nothing about the workers."""


class Verdict(Enum):
    """What the master should do about a worker."""

    SILENT = "silent"
    BEAT = "beat"
    DUMP = "dump"
    KILL = "kill"


@final
@dataclass(slots=True)
class _Pulse:
    counter: int
    missed: int = 0
    dumped: bool = False


@final
class Liveness:
    """The clocks of all workers that are ready; ``timeout`` in seconds, 0 never kills."""

    def __init__(self, timeout: float) -> None:
        self._silent = round(SILENCE / TICK)
        self.timeout = timeout
        self._pulses: dict[int, _Pulse] = {}
        self._looked_at: float | None = None

    @property
    def timeout(self) -> float:
        """Seconds without a heartbeat until a worker is ended; 0: never."""
        return self._timeout

    @timeout.setter
    def timeout(self, value: float) -> None:
        self._timeout = value
        self._dump = max(round(value / TICK), self._silent + 1) if value else 0
        self._kill = self._dump + round(GRACE / TICK)

    def look(self, now: float, counters: Mapping[int, int]) -> list[tuple[int, Verdict]]:
        """The verdicts of one tick, from the counters of the workers to be judged.

        A worker that isn't among them any more is forgotten, one that is new starts with a full
        clock.
        """
        late = self._looked_at is not None and now - self._looked_at > LATE
        self._looked_at = now
        old, self._pulses = self._pulses, {}
        verdicts = []
        for worker, counter in counters.items():
            pulse = self._pulses[worker] = old.get(worker) or _Pulse(counter)
            if worker in old and (verdict := self._judge(pulse, counter, late=late)) is not None:
                verdicts.append((worker, verdict))
        return verdicts

    def age(self, worker: int) -> float | None:
        """Seconds since a worker's heartbeat was last seen to move, as far as ticks can tell."""
        pulse = self._pulses.get(worker)
        return None if pulse is None else pulse.missed * TICK

    def _judge(self, pulse: _Pulse, counter: int, *, late: bool) -> Verdict | None:
        if counter != pulse.counter:
            pulse.counter = counter
            was_silent = pulse.missed >= self._silent
            pulse.missed, pulse.dumped = 0, False
            return Verdict.BEAT if was_silent else None
        if late:
            # A silent worker stays out until it beats, but its clock to the kill starts again.
            pulse.missed = self._silent if pulse.missed >= self._silent else 0
            pulse.dumped = False
            return None
        pulse.missed += 1
        if pulse.missed == self._silent:
            return Verdict.SILENT
        if not self._dump or pulse.missed < self._dump:
            return None
        if not pulse.dumped:  # whatever the timeout was before
            pulse.dumped = True
            return Verdict.DUMP
        return Verdict.KILL if pulse.missed >= self._kill else None
