"""What a server costs and how long its queue is, looked at from outside while it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, final

from benchmarks.harness.background import Background
from benchmarks.measure import CpuSnapshot

if TYPE_CHECKING:
    from benchmarks.harness.servers import Server
    from benchmarks.harness.status import Counters

__all__ = ["Observed", "Watch", "observed"]

_EVERY = 0.3
"""Seconds between two looks: each stops the master for 2.5 ms, which is ≤ 1 % of the time so."""


@final
@dataclass(frozen=True, slots=True)
class Observed:
    """From the end of the warm-up to the last answer; None where nobody counts."""

    master_cpu: float
    """Seconds, without what the looking cost."""
    cpu: float
    """Seconds of all processes, likewise."""
    accepted: int | None = None
    recalls: int | None = None
    queue_mean: float | None = None
    queue_max: int | None = None


@final
class Watch(Background):
    """Looks at one server; ``result`` is there after the context."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        # Found beforehand: to look for a server's processes is to read all of /proc.
        self._pids = server.running.family()
        self._looks: list[Counters] = []
        self._before = self._after = CpuSnapshot({})

    def work(self) -> None:
        self._before = CpuSnapshot.take(self._pids)
        self._look()
        at = monotonic() + _EVERY
        while self.pause(at):
            self._look()
            at = max(at + _EVERY, monotonic())
        self._look()
        self._after = CpuSnapshot.take(self._pids)

    @property
    def result(self) -> Observed:
        master = self._server.running.master
        looking = self._server.question * len(self._looks)
        return observed(
            self._after.since(self._before, {master}) - looking,
            self._after.since(self._before) - looking,
            self._looks,
        )

    def _look(self) -> None:
        if (counted := self._server.counters()) is not None:
            self._looks.append(counted)


def observed(master_cpu: float, cpu: float, looks: list[Counters]) -> Observed:
    """What the looks come to; the last one is after the load, and no sample of the queue."""
    spent = max(0.0, master_cpu), max(0.0, cpu)
    if len(looks) < 2:
        return Observed(*spent)
    queued = [look.queued for look in looks[:-1]]
    return Observed(
        *spent,
        looks[-1].accepted - looks[0].accepted,
        looks[-1].recalled - looks[0].recalled,
        sum(queued) / len(queued),
        max(queued),
    )
