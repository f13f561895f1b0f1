"""How the server does, in a few figures that cost next to nothing: for health checks and systemd.

``balancer status`` says more, and reads /proc for it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, final

import trio

from balancer.core.lifecycle import State
from balancer.master.operations import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balancer.core.control import UpstreamStatus
    from balancer.master.dispatcher import Dispatcher
    from balancer.master.operations import Operations
    from balancer.master.ports import Ports
    from balancer.master.supervisor import Supervisor
    from balancer.master.upstreams import Upstreams

__all__ = ["Vitals", "Watch", "Watched", "unready"]


@final
@dataclass(frozen=True, slots=True)
class Vitals:
    """The server at one moment.

    Attributes:
        phase: What it is doing.
        workers: How many there are in each state.
        wanted: How many there are to be.
        queued: Connections that wait for a worker.
        reload_error: Why the last reload was given up, if it was.
    """

    phase: Phase
    workers: Mapping[State, int]
    wanted: int
    queued: int
    reload_error: str | None = None

    @property
    def ready(self) -> int:
        """How many workers take connections."""
        return self.workers.get(State.READY, 0)


class Watched(Protocol):
    """A running master, for those who only look."""

    def look(self) -> Vitals:
        """The figures, now."""
        ...

    def unready(self) -> str | None:
        """Why the server should get no clients now; None when it should."""
        ...

    def uptime(self) -> float:
        """Seconds since the start."""
        ...

    async def beat(self) -> None:
        """Wait until the loop that moves connections has had a turn."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Watch:
    """Looks at the parts of a master, and changes nothing."""

    operations: Operations
    supervisor: Supervisor
    dispatcher: Dispatcher
    ports: Ports
    upstreams: Upstreams | None
    started_at: float = field(default_factory=trio.current_time)

    def look(self) -> Vitals:
        """The figures, now."""
        return Vitals(
            self.operations.phase,
            Counter(worker.state for worker in self.supervisor.workers.values()),
            len(self.supervisor.slots),
            sum(len(self.dispatcher.lane(lane).queue) for lane in self.ports.lanes),
            self.operations.reload_error,
        )

    def unready(self) -> str | None:
        """Why the server should get no clients now; None when it should."""
        return unready(self.look(), [] if self.upstreams is None else self.upstreams.states())

    def uptime(self) -> float:
        """Seconds since the start."""
        return trio.current_time() - self.started_at

    async def beat(self) -> None:
        """Wait until the loop that moves connections has had a turn."""
        await self.dispatcher.pulse.beat()


def unready(vitals: Vitals, upstreams: list[UpstreamStatus]) -> str | None:
    """Why a server in this state should get no clients, as a sentence; None when it should.

    A worker that is stalled is not ready: a load balancer that has another server should use that.
    """
    if vitals.phase is Phase.STOPPING:
        return "the server is stopping"
    if not vitals.ready:
        others = [f"{count} {state.value}" for state, count in _by_name(vitals.workers)]
        return f"no worker is ready ({', '.join(others) or 'there is none'})"
    pools: dict[str, Counter[str]] = {}
    for each in upstreams:
        pools.setdefault(each.pool, Counter())[each.state] += 1
    for name, states in pools.items():
        if not states["ready"]:
            which = f" of pool {name}" if name else ""
            shown = ", ".join(f"{count} {state}" for state, count in states.items() if count)
            return f"no upstream{which} is ready ({shown})"
    return None


def _by_name(workers: Mapping[State, int]) -> list[tuple[State, int]]:
    """The states that somebody is in."""
    return sorted(
        ((state, count) for state, count in workers.items() if count), key=lambda one: one[0].value
    )
