"""How far a run has come: one line that moves, and the time that is left."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a run tells while it lasts."""

    def say(self, text: str) -> None:
        """A line that stays: a server that is missing, a load that had to be lowered."""

    def expect(self, seconds: float) -> None:
        """So long it will take from here."""

    def step(self, text: str) -> None:
        """This is measured next."""

    def done(self, seconds: float) -> None:
        """What was expected to take so long is over."""
