"""When each endpoint is probed, and what follows from that.

Every endpoint has a task of its own with a rhythm of its own, so that a server that hangs delays
nobody else's probe; the rhythm is uneven, so that neither many endpoints nor many front doors
knock in step.  ``core.health`` counts; what a probe that failed means is decided there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, final

import trio

from balancer.core.health import Probation

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.net.endpoints import EndpointRow, Heads
    from balancer.upstream.watcher.roll import Roll
    from balancer.upstream.watcher.tcp import Ask

__all__ = ["JITTER", "Prober", "Rhythm"]

logger = logging.getLogger("balancer")

JITTER = 0.2
"""The part of the interval that it may be longer or shorter by."""


@final
@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often to probe, and how many results in a row mean something."""

    interval: float = 2.0
    """Seconds from the beginning of a probe to that of the next one."""
    rise: int = 2
    fall: int = 3

    def pause(self, random: float) -> float:
        """The next interval; ``random`` is in [0, 1)."""
        return self.interval * (1 - JITTER + 2 * JITTER * random)


@final
class Prober:
    """Probes the endpoints that there are; its tasks run in the nursery that it is given.

    Args:
        heads: Where results go.
        roll: Which endpoints there are.
        ask: One probe.
        rhythm: When.
        random: Numbers in [0, 1).
        nursery: For one task per endpoint.
    """

    def __init__(
        self,
        heads: Heads,
        roll: Roll,
        ask: Ask,
        rhythm: Rhythm,
        random: Callable[[], float],
        nursery: trio.Nursery,
    ) -> None:
        self._heads = heads
        self._roll = roll
        self._ask = ask
        self._rhythm = rhythm
        self._random = random
        self._nursery = nursery
        self._scopes: dict[int, trio.CancelScope] = {}  # by when the endpoint was placed

    def start(self) -> None:
        """Begin with those that there are, spread over one interval.

        Who has been probed by the watcher before this one is due as it would have been by that one.
        """
        rows, now, interval = self._roll.rows(), monotonic(), self._rhythm.interval
        for number, row in enumerate(rows):
            due = row.probed_at + interval - now if row.probed_at else 0.0
            self._begin(row, min(due, interval) if due > 0 else interval * number / len(rows))

    def placed(self, row: EndpointRow) -> None:
        """A new endpoint: probe it at once, since it gets requests from now on."""
        self._begin(row, 0.0)

    def removed(self, row: EndpointRow) -> None:
        """An endpoint is gone."""
        self._scopes.pop(row.placed).cancel()

    def _begin(self, row: EndpointRow, delay: float) -> None:
        scope = self._scopes[row.placed] = trio.CancelScope()
        self._nursery.start_soon(self._probe, row, delay, scope)

    async def _probe(self, row: EndpointRow, delay: float, scope: trio.CancelScope) -> None:
        rhythm = self._rhythm
        against = self._heads.against(row.index)  # as the watcher before this one has found
        probation = Probation(rhythm.rise, rhythm.fall, up=not row.down, against=against)
        with scope:
            await trio.sleep(delay)
            while True:
                began = trio.current_time()
                reason = await self._ask(row, self._roll.upstreams[row.upstream])
                if scope.cancel_called:  # its row may be another one's already
                    return
                self._record(row, probation, reason)
                await trio.sleep_until(began + rhythm.pause(self._random()))

    def _record(self, row: EndpointRow, probation: Probation, reason: str | None) -> None:
        flipped = probation.passed() if reason is None else probation.failed()
        self._heads.probed(row.index, up=probation.up, now=monotonic(), against=probation.against)
        if not flipped:
            return
        name = self._roll.show(row)
        if probation.up:
            logger.info("upstream %s is up: %d probes in a row passed", name, self._rhythm.rise)
        else:
            count = self._rhythm.fall
            logger.warning(
                "upstream %s is down: %d probes in a row failed: %s", name, count, reason
            )
