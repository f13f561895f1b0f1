"""The workers that are held as overdue, and the heartbeats that release them."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from balancer.core.books import Hold
from balancer.net.slots import Word

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balancer.core.roster import Roster

__all__ = ["Overdue"]

HEARTBEAT = int(Word.HEARTBEAT)


@final
class Overdue:
    """Who was found overdue, and what its heartbeat was then."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._hearts: dict[int, tuple[memoryview, int]] = {}  # by worker: its row, and the beat

    def note(self, rows: Iterable[tuple[int, memoryview]]) -> None:
        """Look at every worker, with its row of the slots: who is overdue since the last time?

        The beat that counts is one after this: the last may be from before it blocked.
        """
        for worker, words in rows:
            if not self._roster.held(worker) & Hold.OVERDUE:
                # Who has answered since may be late again, and with another heartbeat.
                self._hearts.pop(worker, None)
            elif worker not in self._hearts:
                self._hearts[worker] = (words, words[HEARTBEAT])

    def look(self) -> None:
        """Release those whose heart has beaten."""
        for worker, (words, beat) in list(self._hearts.items()):
            if words[HEARTBEAT] != beat:
                del self._hearts[worker]
                if self._roster.held(worker) & Hold.OVERDUE:
                    self._roster.beat(worker)

    def forget(self, worker: int) -> None:
        """A worker is gone."""
        self._hearts.pop(worker, None)
