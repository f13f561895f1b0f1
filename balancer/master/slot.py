"""A slot: a place for a worker, which outlives the workers in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

import trio

from balancer.core.respawn import Respawn

if TYPE_CHECKING:
    from balancer.master.worker import WorkerHandle

__all__ = ["LastFailure", "Slot"]


@final
@dataclass(frozen=True, slots=True)
class LastFailure:
    """How the last worker died that should not have, at ``at`` of the loop's clock."""

    worker: int
    pid: int | None
    at: float
    cause: str
    stderr: str


@final
@dataclass(slots=True, eq=False)
class Slot:
    """One of the N places.

    ``current`` is the worker in it, ``successor`` one that is booting to replace it, and
    ``predecessors`` have been replaced and aren't told to leave yet.  With neither of the
    first two the slot is in backoff until ``resumes_at``, or it has been retired.  Only in a slot
    that is ``kept`` a dead worker is replaced; any other slot goes with its worker.  A slot is
    ``suspect`` when its last worker died unexpectedly: what the next one prints is overheard.
    """

    number: int
    kept: bool = True
    env: dict[str, str] = field(default_factory=dict)
    worker_connections: int = 0  # of a worker in it; 0: as the settings say
    current: WorkerHandle | None = None
    successor: WorkerHandle | None = None
    predecessors: list[WorkerHandle] = field(default_factory=list)
    restarts: int = 0
    suspect: bool = False
    last_failure: LastFailure | None = None
    retired: bool = False
    respawn: Respawn = field(default_factory=Respawn)
    backoff: trio.CancelScope = field(default_factory=trio.CancelScope)
    resumes_at: float = 0.0

    @property
    def vacant(self) -> bool:
        """Nobody is in it and nobody is coming."""
        return self.current is None and self.successor is None
