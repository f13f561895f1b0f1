"""Why a worker died, and what it said last: what the log and ``balancer status`` tell of it.

The exit code comes from the fork server.  Who sent a signal is known when it was the master
(``WorkerHandle.killed_for``) or the kernel (``master.oom``).  A worker in a slot that has lost one
prints through a ``Relay``, which remembers the end of it.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, final

import trio

from balancer.core.tail import last_lines
from balancer.log import Outlet
from balancer.master.obituary import cause, has_left
from balancer.master.oom import OutOfMemory
from balancer.master.relay import Relay, Stderr
from balancer.master.slot import LastFailure

if TYPE_CHECKING:
    from balancer.master.slot import Slot
    from balancer.master.worker import WorkerHandle

__all__ = ["Coroner"]


@final
class Coroner:
    """Knows of every worker's end; its tasks run in the nursery that it is given."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._oom = OutOfMemory()
        self._stderr: Stderr | None = None  # as long as there are relays
        self._relays = 0

    def born(self, worker: WorkerHandle) -> None:
        """A worker was forked: hear what it prints, if its slot is suspect."""
        self._oom.look()
        if not worker.extras.overheard:
            return
        fd = worker.extras.take("stderr")
        assert fd is not None
        if self._stderr is None:
            self._stderr = Stderr(Outlet(2))
        worker.relay = Relay(fd, self._stderr)
        self._relays += 1
        self._nursery.start_soon(self._run, worker.relay)

    async def _run(self, relay: Relay) -> None:
        try:
            await relay.run()
        finally:
            self._relays -= 1
            if not self._relays and self._stderr is not None:
                self._stderr.close()
                self._stderr = None

    def died(self, worker: WorkerHandle, slot: Slot) -> None:
        """A worker is dead, of whatever: does its slot become suspect?"""
        slot.suspect = worker.killed_for is not None or not worker.expected

    async def examine(self, worker: WorkerHandle, slot: Slot) -> None:
        """Its exit code is known, or never will be: find out the rest."""
        if worker.exit_code == -signal.SIGKILL and worker.killed_for is None:
            worker.oom = self._oom.explain()
        said = "" if worker.relay is None else await worker.relay.last_words()
        if has_left(worker):
            return
        sentence, _, traceback = cause(worker).partition("\n")
        now = trio.current_time()
        words = said or last_lines(traceback)
        slot.last_failure = LastFailure(worker.id, worker.pid, now, sentence, words)
