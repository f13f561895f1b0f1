"""How much the generator can bring at most.

Measured in every run, since it is the machine's: a closed loop against a server that does nothing
but answer.  The two share the cores, as generator and server do later, so it is rather too low.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.generator.offer import Offer
from benchmarks.generator.trivial import trivial_server
from benchmarks.study.service import Constant
from benchmarks.study.workloads import Clients

if TYPE_CHECKING:
    from benchmarks.generator.pool import Pool
    from benchmarks.study.service import Service

__all__ = ["SHARE", "ceiling", "closed_loop", "more_than"]

SHARE = 0.25
"""Of the ceiling that is offered at most: far from it, a generator keeps its schedule."""
_AT_ONCE = 64
_MORE_THAN_ANYBODY = 150_000.0  # requests a second


def ceiling(pool: Pool, clients: Clients, processes: int = 2, seconds: float = 0.5) -> float:
    """Requests a second: on new connections with ``EACH_NEW``, else on kept ones.

    Raises:
        GeneratorError: as ``Pool.run``.
    """
    kept = Clients.EACH_NEW if clients is Clients.EACH_NEW else Clients.KEPT
    with trivial_server() as port:
        return closed_loop(
            pool,
            Offer(
                port,
                _MORE_THAN_ANYBODY,
                seconds,
                Constant(0.0),
                clients=kept,
                connections=_AT_ONCE,
                timeout=0.0,
                processes=processes,
            ),
        )


def closed_loop(pool: Pool, offer: Offer) -> float:
    """Requests a second that are answered when ``connections`` ask without a pause.

    The offer's rate is more than can be answered, so that every answer is followed by a request.
    Answers are late then, so a ``warm_up`` in the offer would be what all of them belong to: warm
    the server up by a run before.
    """
    harvest = pool.run(offer)
    return harvest.within / harvest.seconds


def more_than(service: Service, workers: int) -> float:
    """A rate that so many workers can't answer, for a closed loop."""
    if not service.mean:
        return _MORE_THAN_ANYBODY
    return 3 * workers / service.mean
