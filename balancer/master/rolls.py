"""One roll after the other: who asks during one gets exactly one more, however many ask.

What a roll does is its caller's; this knows when the next one begins, and tells those who wait how
theirs ended.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

import trio

from balancer.errors import BalancerError, RunError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Roll", "Rolls"]

logger = logging.getLogger("balancer")


@final
@dataclass(slots=True, eq=False)
class Roll:
    """Every worker replaced once; ``reread``: with the configuration read again before."""

    reread: bool
    over: trio.Event = field(default_factory=trio.Event)
    error: str | None = None
    """Why it was given up, in one sentence."""

    @property
    def word(self) -> str:
        """What it is called in the log."""
        return "reload" if self.reread else "restart"

    async def done(self) -> None:
        """Wait for its end; RunError when it was given up."""
        await self.over.wait()
        if self.error is not None:
            raise RunError(f"{self.word}: {self.error}")


@final
class Rolls:
    """Runs ``roll`` once per ``Roll``; a ``BalancerError`` that it raises gives that one up.

    ``changed`` is called when one is asked for, and when none is under way any more.
    """

    def __init__(
        self,
        roll: Callable[[Roll], Awaitable[None]],
        nursery: trio.Nursery,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._roll = roll
        self._changed = changed
        self._nursery = nursery
        self._running: Roll | None = None
        self._following: Roll | None = None
        self._stopping = False
        self.error: str | None = None
        """Why the last one was given up; None when it wasn't."""

    @property
    def running(self) -> bool:
        """Whether one is under way."""
        return self._running is not None

    def ask(self, *, reread: bool) -> Roll:
        """Begin one, or have one follow; the one that is asked for."""
        if self._running is None:
            asked = self._running = Roll(reread)
            self._nursery.start_soon(self._run, asked)
        elif self._following is None:
            asked = self._following = Roll(reread)
        else:
            asked = self._following
            asked.reread |= reread
        self._changed()
        return asked

    def stop(self) -> None:
        """The server stops: no other one begins, and what becomes of this one is of no interest."""
        self._stopping = True

    async def _run(self, roll: Roll | None) -> None:
        while roll is not None:
            await self._run_once(roll)
            roll, self._following = self._following, None
            self._running = roll
        self._changed()

    async def _run_once(self, roll: Roll) -> None:
        if not self._stopping:
            self.error = None
            try:
                await self._roll(roll)
            except BalancerError as error:
                # what follows the first line is a traceback, for the log
                sentence, newline, traceback = str(error).partition("\n")
                roll.error = sentence
                if not self._stopping:
                    self._give_up(roll, f"{sentence}; the running workers stay{newline}{traceback}")
        if self._stopping:
            roll.error = "the server is stopping"
        roll.over.set()

    def _give_up(self, roll: Roll, text: str) -> None:
        self.error = roll.error
        logger.error("%s: %s", roll.word, text)
