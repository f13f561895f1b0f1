"""What the generator is asked for, and its account.

Theory: see ``benchmarks.openloop``.  A request's clock starts when it is due, on a schedule that
knows nothing of the server, so no stall hides the requests that would have come meanwhile.  Here
the schedule is a Poisson process (independent users), every process has its part of it, and the
times are kept in a histogram of three significant digits, which is merged at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from benchmarks.study.workloads import Clients, Work

if TYPE_CHECKING:
    from benchmarks.study.service import Service

__all__ = ["Harvest", "Offer"]


@final
@dataclass(frozen=True, slots=True)
class Offer:
    """Requests ``GET /block/SECONDS`` or ``/burn/SECONDS``, ``rate`` a second for ``duration``.

    What is due in the first ``warm_up`` seconds is sent and not counted.  With ``slow_pid`` every
    request carries ``?slow=PID&times=FACTOR``: the process with that pid works so much longer.
    """

    port: int
    rate: float
    duration: float
    service: Service
    work: Work = Work.BLOCK
    clients: Clients = Clients.EACH_NEW
    connections: int = 0
    """At a time; of ``Clients.EACH_NEW`` at most so many (a closed loop), 0: as many as are due."""
    warm_up: float = 0.0
    slow_pid: int = 0
    slow_factor: float = 1.0
    timeout: float = 10.0
    """Seconds after the end of the schedule: what has no answer then is an error ("timeout")."""
    processes: int = 2
    seed: int = 0


@final
@dataclass(slots=True)
class Harvest:
    """The account: every request that was due is in ``answered`` or in ``errors``."""

    due: int = 0
    answered: int = 0
    within: int = 0
    """Of these, the answers that came before the schedule ended: throughput is made of them."""
    errors: dict[str, int] = field(default_factory=dict)
    percentiles: list[tuple[float, float]] = field(default_factory=list)
    mean: float = 0.0
    lag_p99: float = 0.0
    seconds: float = 0.0
    """From the end of the warm-up to the end of the schedule."""
    connections: dict[int, int] = field(default_factory=dict)
    """By the pid that answered; a connection counts with its first answer after the warm-up."""
    requests: dict[int, int] = field(default_factory=dict)
    """Answers by pid."""
    cpu_share: float = 0.0
    """Of the busiest generating process: near 1, it measured itself."""
    saturated: str = ""
    """Why the generator couldn't keep its schedule; empty: it could."""
