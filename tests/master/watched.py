"""A master to look at, without a server."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import trio

from balancer.core.lifecycle import State
from balancer.master.operations import Phase
from balancer.master.vitals import Vitals


@dataclass
class FakeWatch:
    """Shows what it is told to show."""

    vitals: Vitals = field(
        default_factory=lambda: Vitals(Phase.RUNNING, {State.READY: 2}, wanted=2, queued=0)
    )
    reason: str | None = None
    stuck: bool = False
    beats: int = 0

    def change(self, **changes: object) -> None:
        self.vitals = replace(self.vitals, **changes)  # type: ignore[arg-type]  # the test's

    def look(self) -> Vitals:
        return self.vitals

    def unready(self) -> str | None:
        return self.reason

    def uptime(self) -> float:
        return 1.5

    async def beat(self) -> None:
        if self.stuck:
            await trio.sleep_forever()
        self.beats += 1
