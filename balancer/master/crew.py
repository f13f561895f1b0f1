"""The slots and the workers: what the parts of the supervisor share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from balancer.master.slot import Slot
    from balancer.master.worker import WorkerHandle

__all__ = ["Crew"]


@final
@dataclass(slots=True, eq=False)
class Crew:
    """Everybody there is.  ``workers`` has those of retired slots, too, until they are buried."""

    slots: list[Slot] = field(default_factory=list)
    workers: dict[int, WorkerHandle] = field(default_factory=dict)
    unreported: dict[int, WorkerHandle] = field(default_factory=dict)
    """The workers, and the dead whose exit code isn't known yet."""
    stopping: bool = False
    """Nobody is replaced any more."""

    def needs(self, slot: Slot) -> bool:
        """Whether a slot is to have a worker."""
        return not slot.retired and not self.stopping

    def refills(self, slot: Slot) -> bool:
        """Whether a slot that has lost its worker is to have another one."""
        return slot.kept and self.needs(slot)
