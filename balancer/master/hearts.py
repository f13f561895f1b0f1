"""The hearts of the workers: what is done about one that is silent.

A heart is a counter in the worker's row of the stats table.  What its silence means is decided by
``core.liveness``: no new connections at first, which is reversible, and in the end the worker's.
"""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING, final

from balancer.core.lifecycle import Event, State
from balancer.core.liveness import Liveness, Verdict
from balancer.net.slots import Word

if TYPE_CHECKING:
    from balancer.master.crew import Crew
    from balancer.master.dispatcher import Dispatcher
    from balancer.master.farewell import Farewell
    from balancer.master.live import Live
    from balancer.master.worker import WorkerHandle

__all__ = ["Hearts"]

logger = logging.getLogger("balancer")

HEARTBEAT = int(Word.HEARTBEAT)
JUDGED = frozenset({State.READY, State.STALLED, State.DRAINED, State.DRAINING})
"""The states in which a heart must beat."""


@final
class Hearts:
    """Looks at every heart when told to, at the pace at which they beat."""

    def __init__(self, live: Live, crew: Crew, dispatcher: Dispatcher, farewell: Farewell) -> None:
        self._live = live
        self._crew = crew
        self._dispatcher = dispatcher
        self._farewell = farewell
        self.liveness = Liveness(live.settings.timeout)

    def look(self, now: float) -> None:
        """A tick."""
        self.liveness.timeout = self._live.settings.timeout
        hearts = {
            worker.id: worker.words[HEARTBEAT]
            for worker in self._crew.workers.values()
            if worker.state in JUDGED
        }
        for worker_id, verdict in self.liveness.look(now, hearts):
            self._judge(self._crew.workers[worker_id], verdict)

    def _judge(self, worker: WorkerHandle, verdict: Verdict) -> None:
        if verdict is Verdict.SILENT:
            if worker.step(Event.SILENT):
                self._dispatcher.hold(worker.id)
                logger.warning(
                    "%s has had no heartbeat for 1 s: no new connections until it has", worker
                )
        elif verdict is Verdict.BEAT:
            if worker.step(Event.BEAT):
                self._dispatcher.beat(worker.id)
                logger.info("%s has a heartbeat again", worker)
        elif verdict is Verdict.DUMP:
            settings = self._live.settings
            where, seconds = settings.where("timeout"), settings.timeout
            logger.error(
                "%s has had no heartbeat for %g s (%s) and is ended", worker, seconds, where
            )
            worker.killed_for = f"no heartbeat for {seconds:g} s ({where})"
            self._farewell.dump(worker)
        else:
            worker.signal(signal.SIGKILL)
