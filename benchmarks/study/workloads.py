"""The workloads that policies are compared under, one row each.

A request *works* for a time that the generator has drawn (``service``): it blocks its worker, as a
handler that computes or waits for a slow disk does, and as long as it works nothing else runs in
that worker.  Work that sleeps (``Work.BLOCK``) keeps a worker busy without needing a core, so that
more workers than cores can be compared on a small machine; work that burns (``Work.BURN``) is there
for what sleeping doesn't show, the cores being shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, final

from benchmarks.study.service import BoundedPareto, Constant, Mix

if TYPE_CHECKING:
    from benchmarks.study.service import Service

__all__ = ["WORKLOADS", "Clients", "Trouble", "Work", "Workload"]


class Work(Enum):
    """What a request does with its time."""

    BLOCK = "block"  # blocks its worker without using a core
    BURN = "burn"  # computes


class Clients(Enum):
    """How requests come on connections."""

    EACH_NEW = "each-new"  # a new connection for every request
    KEPT = "kept"  # ``connections`` that stay for the whole run; the longest idle is next
    UNEVEN = "uneven"  # each lives for a number of requests drawn from a heavy tail, then a new one


class Trouble(Enum):
    """What happens to one of the workers."""

    NONE = "none"
    SLOW = "slow"  # all its work takes ``severity`` times as long
    BLOCKED = "blocked"  # one request blocks it for ``severity`` seconds, every other ``severity``
    STOPPED = "stopped"  # SIGSTOP, and SIGCONT after ``severity`` seconds


@final
@dataclass(frozen=True, slots=True)
class Workload:
    """One row: what the requests do, how they come, and what goes wrong meanwhile."""

    name: str
    what: str
    """One sentence for tables and the list of workloads."""
    service: Service
    work: Work = Work.BLOCK
    clients: Clients = Clients.EACH_NEW
    connections: int = 0
    """At a time, where they stay."""
    trouble: Trouble = Trouble.NONE
    severity: float = 0
    quick: bool = False
    """Whether it is one of the three of ``--quick``."""


_EVEN = Constant(0.005)

WORKLOADS: dict[str, Workload] = {
    row.name: row
    for row in (
        Workload("uniform", "every request blocks its worker for 5 ms", _EVEN, quick=True),
        Workload(
            "heavy-tail",
            "service times from 1 ms to 1 s, bounded Pareto: a few make up most of the work",
            BoundedPareto(alpha=1.1, least=0.001, most=1.0),
            quick=True,
        ),
        Workload(
            "slow-worker",
            "one of the workers takes ten times as long for everything",
            _EVEN,
            trouble=Trouble.SLOW,
            severity=10,
        ),
        Workload(
            "blocked-worker",
            "one of the workers is blocked for 2 s by a single request, every other 2 s",
            _EVEN,
            trouble=Trouble.BLOCKED,
            severity=2,
            quick=True,
        ),
        Workload(
            "stopped-worker",
            "one of the workers is stopped (SIGSTOP) for 3 s",
            _EVEN,
            trouble=Trouble.STOPPED,
            severity=3,
        ),
        Workload(
            "cpu-mix",
            "one request in ten computes for 20 ms, the others answer at once",
            Mix(((0.1, Constant(0.02)), (0.9, Constant(0.0)))),
            work=Work.BURN,
        ),
        Workload(
            "few-clients",
            "six clients keep their connections, which a policy can't move any more",
            _EVEN,
            clients=Clients.KEPT,
            connections=6,
        ),
        Workload(
            "uneven-connections",
            "connections of very unequal length, 16 at a time: some bring one request, some 1,000",
            _EVEN,
            clients=Clients.UNEVEN,
            connections=16,
        ),
        Workload(
            "new-connections",
            "an answer without any work on a new connection each: the cost of the way itself",
            Constant(0.0),
        ),
    )
}
