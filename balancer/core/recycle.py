"""When a worker has lived long enough, and which of those that want to go may go now.

Recycling is no emergency: a worker that has served its requests, its time or its memory goes on
serving until a successor is ready.  What must not happen is that all of them start successors at
once, because each boots an app and holds its memory twice.  So limits are spread by jitter, and at
most a quarter of the slots, ⌈N/4⌉, is being recycled at any time.  Wishes are granted in the order
in which they were made, and one that failed goes to the end: nobody starves.

Source: granian's ``--workers-lifetime`` and ``--workers-max-rss``, whose users ask for jitter;
gunicorn's ``max_requests_jitter``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

__all__ = ["JITTER", "SHARE", "Limits", "Recycling"]

SHARE = 4
"""One of so many slots may be recycled at a time."""
JITTER = 0.1
"""The part of a limit that is left to chance."""


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker may use up, in seconds since it was ready and bytes of RSS; 0 is anything."""

    lifetime: float = 0.0
    max_rss: int = 0

    @classmethod
    def draw(cls, lifetime: float, max_rss: int, jitter: float) -> Limits:
        """One worker's limits; ``jitter`` is a random number in [0, 1).

        Time is added, as ``max_requests_jitter`` adds requests; memory is taken off, because what
        was given is the most that may be used.
        """
        return cls(lifetime * (1 + JITTER * jitter), int(max_rss * (1 - JITTER * jitter)))

    def outlived(self, age: float) -> bool:
        """Whether a worker is too old."""
        return 0 < self.lifetime <= age

    def outgrown(self, rss: int) -> bool:
        """Whether it is too big."""
        return 0 < self.max_rss <= rss


@final
class Recycling:
    """Who wants to be replaced, and who is being replaced, by id."""

    def __init__(self) -> None:
        self._waiting: dict[int, None] = {}  # in order
        self._going: set[int] = set()

    def __contains__(self, worker: int) -> bool:
        return worker in self._waiting or worker in self._going

    @property
    def going(self) -> int:
        """How many are being recycled."""
        return len(self._going)

    def ask(self, worker: int) -> None:
        """A worker wants to go; asking twice changes nothing."""
        if worker not in self:
            self._waiting[worker] = None

    def over(self, worker: int) -> None:
        """It has been replaced, is dead, or must ask again; unknown ones are ignored."""
        self._waiting.pop(worker, None)
        self._going.discard(worker)

    def grant(self, slots: int) -> list[int]:
        """Who goes now, of that many slots; they count until ``over``."""
        bound = -(-slots // SHARE)
        granted = list(self._waiting)[: max(0, bound - len(self._going))]
        for worker in granted:
            del self._waiting[worker]
        self._going.update(granted)
        return granted
