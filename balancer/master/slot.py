"""A slot: a place for a worker, which outlives the workers in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

import trio

from balancer.core.respawn import Respawn

if TYPE_CHECKING:
    from balancer.master.worker import WorkerHandle

__all__ = ["Slot"]


@final
@dataclass(slots=True, eq=False)
class Slot:
    """One of the N places.

    ``current`` is the worker in it, ``successor`` one that is booting to replace it.  With neither,
    the slot is in backoff until ``resumes_at``, or it has been retired.  Only in a slot that is
    ``kept`` a dead worker is replaced; any other slot goes with its worker.
    """

    number: int
    kept: bool = True
    env: dict[str, str] = field(default_factory=dict)
    worker_connections: int = 0  # of a worker in it; 0: as the settings say
    weight: int = 1  # of a worker in it, beside the others
    current: WorkerHandle | None = None
    successor: WorkerHandle | None = None
    restarts: int = 0
    retired: bool = False
    respawn: Respawn = field(default_factory=Respawn)
    backoff: trio.CancelScope = field(default_factory=trio.CancelScope)
    resumes_at: float = 0.0

    @property
    def vacant(self) -> bool:
        """Nobody is in it and nobody is coming."""
        return self.current is None and self.successor is None
