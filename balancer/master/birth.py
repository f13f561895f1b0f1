"""How a worker comes to be: a row of the stats table, its descriptors, a process.

Until the fork server has answered, a worker is no more than a ``WorkerHandle``; it may never become
more.  Both steps, to be forked and to be ready, have ``--boot-timeout``.
"""

from __future__ import annotations

import errno
import logging
import signal
from typing import TYPE_CHECKING, TypeVar, final

import trio

from balancer.core.messages import BootFailed, Spawn
from balancer.errors import AppError
from balancer.log import has_stderr
from balancer.master.extras import Extras
from balancer.master.worker import WorkerHandle
from balancer.net.slots import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from balancer.master.live import Edition, Live
    from balancer.master.plan import Plan
    from balancer.master.ports import Ports
    from balancer.master.slot import Slot
    from balancer.master.spawner import Spawner
    from balancer.master.upstreams import Upstreams
    from balancer.net.slots import SlotTable

__all__ = ["Birth"]

_T = TypeVar("_T")

logger = logging.getLogger("balancer")


@final
class Birth:
    """Makes workers; gives out the ids and the rows of the table."""

    def __init__(
        self,
        live: Live,
        plan: Plan,
        ports: Ports,
        table: SlotTable,
        spawner: Spawner,
        upstreams: Upstreams | None = None,
    ) -> None:
        self._live = live
        self._upstreams = upstreams
        self._plan = plan
        self._ports = ports
        self._table = table
        self._spawner = spawner
        self.log_level = ""
        """What workers are to log from now on; empty: as the settings say."""
        self.next_id = 1
        self._rows = list(range(ROWS - 1, -1, -1))

    def begin(self, slot: Slot, edition: Edition) -> WorkerHandle | None:
        """A worker that isn't forked yet, or None, with a line in the log."""
        try:
            if not self._rows:
                raise OSError(errno.ENOSPC, f"all {ROWS} rows of the stats table are taken")
            row = self._rows[-1]
            worker = self._make(slot, row, edition)
        except OSError as error:
            logger.error("slot %d: no worker can be started: %s", slot.number, error.strerror)
            return None
        self._rows.pop()
        self._table.clear(row)
        return worker

    def _make(self, slot: Slot, row: int, edition: Edition) -> WorkerHandle:
        words = self._table.row(row)
        endpoints = None
        if self._upstreams is not None:
            self._upstreams.admit(row)
            endpoints = self._upstreams.fd
        extras = Extras(
            mailbox=self._plan.mailbox,
            silent=self._plan.silent,
            endpoints=endpoints,
            overheard=slot.suspect and has_stderr(),
        )
        now = trio.current_time()
        number, self.next_id = self.next_id, self.next_id + 1
        try:
            return WorkerHandle(
                number, slot.number, row, words, now, extras,
                edition=edition, on_trial=edition is not self._live.edition,
            )  # fmt: skip
        except OSError:
            extras.close()
            raise

    async def fork(self, worker: WorkerHandle, slot: Slot) -> None:
        """Have it forked; it has a pid then, or a ``boot_error``."""
        with trio.move_on_after(worker.edition.settings.boot_timeout) as scope:
            await self._spawn(worker, slot)
        if scope.cancelled_caught:
            worker.boot_error = _late(worker, "wasn't forked")
            worker.reaped.set()
            self._spawner.give_up(worker)
        worker.far.close()
        worker.extras.forked()

    async def _spawn(self, worker: WorkerHandle, slot: Slot) -> None:
        ends = [worker.sender.receiving_end, worker.far.fileno(), self._table.fd]
        own = self._ports.inherited(slot.number, worker.edition.lanes)
        ends += [*worker.extras.fds, *(listener.fileno() for listener in own)]
        try:
            await self._spawner.spawn(worker, self._request(worker, slot), ends)
        except AppError as error:
            worker.boot_error = BootFailed(str(error), app=True)
        except OSError as error:
            worker.boot_error = BootFailed(f"can't be forked: {error.strerror}")

    def _request(self, worker: WorkerHandle, slot: Slot) -> Spawn:
        lanes = worker.edition.lanes
        own = self._ports.inherited(slot.number, lanes)
        return Spawn(
            worker.id,
            worker.slot,
            worker.row,
            _by_lane(lanes, self._ports.family, 0),
            servers=self._services(worker.edition),
            addresses=_by_lane(lanes, self._ports.address, ""),
            inherited=tuple(listener.lane for listener in own),
            extras=worker.extras.names,
            env=slot.env,
            worker_connections=slot.worker_connections,
            log_level=self.log_level,
            held=self._ports.held,
        )

    async def watch_boot(self, worker: WorkerHandle) -> None:
        """Kill a process that isn't ready in time."""
        with trio.move_on_after(worker.edition.settings.boot_timeout):
            await worker.booted.wait()
            return
        worker.boot_error = _late(worker, "wasn't ready")
        worker.signal(signal.SIGKILL)

    def _services(self, edition: Edition) -> tuple[int, ...]:
        """Which of several services the connections of each lane are for."""
        of_bind = edition.settings.service_of_bind
        if not of_bind:
            return ()
        return _by_lane(edition.lanes, lambda lane: of_bind[edition.lanes[lane]], 0)

    def forget(self, worker: WorkerHandle) -> None:
        """A worker is dead: its row is free for another."""
        self._spawner.forget(worker)
        if self._upstreams is not None:
            self._upstreams.bury(worker.row)
        if worker.pid is not None:
            self._rows.append(worker.row)
        else:  # it may live for a while, unknown, and write into its row: the last to be given out
            self._rows.insert(0, worker.row)


def _by_lane(lanes: Mapping[int, int], of: Callable[[int], _T], other: _T) -> tuple[_T, ...]:
    """What each lane has, by its number; ``other`` for those that these workers don't know."""
    return tuple(of(lane) if lane in lanes else other for lane in range(max(lanes, default=-1) + 1))


def _late(worker: WorkerHandle, what: str) -> BootFailed:
    settings = worker.edition.settings
    where, seconds = settings.where("boot_timeout"), settings.boot_timeout
    return BootFailed(f"{what} within {seconds:g} s ({where})")
