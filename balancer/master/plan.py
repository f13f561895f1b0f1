"""What a program that uses the library can ask of a server, and a command line can't.

The settings table is for what a person can say in a flag; this is the rest.  ``Plan()`` is the
command line's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balancer.core.messages import Program
    from balancer.core.parcels import Parcel
    from balancer.master.worker import WorkerHandle

__all__ = ["Nobody", "Observer", "Plan"]


class Observer(Protocol):
    """Hears of every worker, in this order; nothing here may wait but ``room``.

    ``gone`` and ``exited`` are called exactly once for each worker that ``starting`` was called
    for, whatever became of it, and ``gone`` always first.
    """

    def starting(self, worker: WorkerHandle) -> None:
        """It was decided to start a worker."""

    def forked(self, worker: WorkerHandle) -> None:
        """Its process exists."""

    def ready(self, worker: WorkerHandle) -> None:
        """It takes connections; called again when it does so after a drain."""

    def reopened(self, worker: WorkerHandle, lane: int) -> None:
        """It takes connections of a lane again that it had closed."""

    def closed(self, worker: WorkerHandle) -> None:
        """It takes no more connections, if it ever did: others own what was its; may come again."""

    async def room(self) -> None:
        """Returns when there is room for another message."""

    def message(self, worker: WorkerHandle, parcel: Parcel) -> None:
        """It has sent a message, whose descriptors are the observer's from now on."""

    def gone(self, worker: WorkerHandle) -> None:
        """It can't be spoken to any more."""

    def exited(self, worker: WorkerHandle) -> None:
        """It has ended, and its exit code is known, or never will be."""


class Nobody:
    """Is told and does nothing."""

    def starting(self, worker: WorkerHandle) -> None: ...
    def forked(self, worker: WorkerHandle) -> None: ...
    def ready(self, worker: WorkerHandle) -> None: ...
    def reopened(self, worker: WorkerHandle, lane: int) -> None: ...
    def closed(self, worker: WorkerHandle) -> None: ...
    async def room(self) -> None: ...
    def message(self, worker: WorkerHandle, parcel: Parcel) -> None: ...
    def gone(self, worker: WorkerHandle) -> None: ...
    def exited(self, worker: WorkerHandle) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a server is assembled.

    Attributes:
        attended: A person runs it: signals are its, it prints what it listens on, and it can be
            asked by ``balancer status``.
        control: Whether it can be asked.
        respawn: Whether a dead worker is replaced.
        mailbox: Whether messages go to and from workers.
        silent: Whether workers' output goes to the program.
        env: What to set in the environment of every worker.
        exclusive: Binds, by index, that only one worker at a time gets connections of.
        program: Where an app may be found in it.
        observer: Who is told what happens to workers.
    """

    attended: bool = True
    control: bool = True
    respawn: bool = True
    mailbox: bool = False
    silent: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    exclusive: frozenset[int] = frozenset()
    program: Program | None = None
    observer: Observer = field(default_factory=Nobody)
