"""What is simulated: the server, its load, and what goes wrong, all with a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from balancer.core.pacing import LEAD
from benchmarks.study.workloads import Clients

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.core.pacing import Lead
    from balancer.core.policy import Policy
    from benchmarks.study.workloads import Workload

    Maker = Callable[[Callable[[], float], Callable[[int], bytes]], Policy]

__all__ = ["BARE", "SECONDS", "Costs", "Setup", "capacity", "connections"]


@final
@dataclass(frozen=True, slots=True)
class Costs:
    """How long things take that aren't work, in seconds.

    Measured on two cores of an EPYC under Linux 6: a connection's first answer came 0.3 ms after
    its connect at 500 a second (``results/handoff.json``), and these add up to that.
    """

    accept: float = 0.00005
    """From a client's connect until the master has it."""
    handoff: float = 0.0001
    """From the master's send until a worker that slept is awake and takes it."""
    ack: float = 0.00005
    """From a worker's ack until the master acts on it."""
    request: float = 0.0001
    """Of a worker for every request, beside the work: read, parse, call, answer."""
    after_work: bool = False
    """The ack leaves when the work is done, where a real one leaves before it begins: no worker
    then has a connection while it works on another, and the queue is that of M/M/k."""


SECONDS = Costs()

BARE = Costs(accept=0.0, handoff=0.0, ack=0.0, request=0.0, after_work=True)
"""Nothing but work: what theory computes."""


@final
@dataclass(frozen=True, slots=True)
class Setup:
    """One run.  Times are in seconds, and what has a default is as in ``balancer serve``."""

    workload: Workload
    workers: int
    rate: float
    """Requests a second, a Poisson process."""
    count: int
    """Requests, those of the warm-up among them."""
    make: Maker | None
    """Makes the policy, from random numbers in [0, 1) and the workers' names; None: ``kernel``
    decides."""
    kernel: str = ""
    """shared or reuseport."""
    seed: int = 1
    costs: Costs = SECONDS
    window: int = 1
    limit: int = 1024
    recall: float | None = 0.1
    lead: Lead | None = LEAD
    warm_up: float = 0.1
    """Share of the requests that is not counted."""
    kills: float = 0.0
    """Workers killed a second, each of them any."""
    respawn: float = 0.02
    """From the death of a worker until the next one is ready."""
    weights: tuple[int, ...] = ()
    """Of the workers by slot; empty: all alike."""
    addresses: int = 1000
    """Of clients, all of them equally busy: what a key is made of."""
    keep: bool = False
    """Whether every single wait is kept, for statistics."""


def capacity(workload: Workload, workers: int, costs: Costs = SECONDS) -> float:
    """Requests a second that the workers can do while nothing goes wrong, as in the real runs."""
    return workers / (workload.service.mean + costs.request)


def connections(workload: Workload, workers: int) -> int:
    """How many connections are kept: what the workload says of four workers, in proportion."""
    if workload.clients is Clients.EACH_NEW:
        return 0
    return max(1, math.ceil(workload.connections * workers / 4))
