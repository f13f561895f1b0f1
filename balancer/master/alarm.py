"""A moment that one task waits for, and that others may bring forward."""

from __future__ import annotations

import time
from typing import final

import trio

from balancer.core.books import NEVER

__all__ = ["Alarm"]


@final
class Alarm:
    """For one waiter.  Moments are seconds of ``time.monotonic``."""

    __slots__ = ("_scope", "at")

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self.at = NEVER
        """When it rings, or rang; NEVER: only when somebody says so."""

    async def wait(self, moment: float) -> None:
        """Wait until then, or until the earliest moment that is said meanwhile."""
        self.at = NEVER
        self._scope = trio.CancelScope()
        with self._scope:
            self.bring_forward(moment)
            await trio.sleep_forever()

    def bring_forward(self, moment: float) -> None:
        """Ring at this moment, if that is earlier."""
        if moment < self.at:
            self.at = moment
            self._scope.deadline = trio.current_time() + moment - time.monotonic()
