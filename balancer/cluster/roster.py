"""Who is there: turns what the master observes into ``Worker`` objects and events."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, final

from balancer.cluster.events import (
    Disconnect,
    Event,
    Exit,
    Fork,
    Listening,
    Message,
    Online,
)
from balancer.cluster.worker import Worker
from balancer.core.books import ANYBODY
from balancer.net.feeds import Feed
from balancer.net.mailbox import open_sockets

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.cluster.events import Address
    from balancer.core.parcels import Parcel
    from balancer.master.worker import WorkerHandle

__all__ = ["Roster"]

logger = logging.getLogger("balancer")


@final
class Roster:
    """The master's observer; ``workers`` follows Node's rules of removal."""

    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}
        self.feed: Feed[Event] = Feed()
        self.addresses: list[Address] = []
        self.leave: Callable[[WorkerHandle], None] = lambda _handle: None
        self.owner: Callable[[int], int] = lambda _lane: ANYBODY
        """Of a lane: the worker that it is for, 0 for nobody at the moment."""
        self._owners: dict[int, int] = {}  # as they were told: lane to worker
        self._all: dict[int, Worker] = {}
        self._captured: weakref.WeakSet[Worker] = weakref.WeakSet()

    def worker(self, worker_id: int) -> Worker:
        """One that has not exited yet."""
        return self._all[worker_id]

    async def close(self) -> None:
        """Close the output of workers that somebody still keeps."""
        for worker in list(self._captured):
            await worker.close()

    def _leave(self, handle: WorkerHandle) -> None:
        self.workers.pop(handle.id, None)
        self.leave(handle)

    # -- what the master says -----------------------------------------------------------------

    def starting(self, handle: WorkerHandle) -> None:
        """As in ``Observer``."""
        worker = Worker(handle, self._leave)
        self.workers[handle.id] = self._all[handle.id] = worker
        if worker.stdout is not None:
            self._captured.add(worker)
        self.feed.put(Fork(worker))

    def forked(self, handle: WorkerHandle) -> None:
        """As in ``Observer``."""
        self.feed.put(Online(self._all[handle.id]))

    def ready(self, handle: WorkerHandle) -> None:
        """As in ``Observer``; what is for one worker only, only that one listens on."""
        for lane in range(len(self.addresses)):
            self.reopened(handle, lane)

    def reopened(self, handle: WorkerHandle, lane: int) -> None:
        """As in ``Observer``."""
        if self.owner(lane) in {ANYBODY, handle.id}:
            self._listens(handle.id, lane)

    def closed(self, _handle: WorkerHandle) -> None:
        """As in ``Observer``; what was for that worker only is another's now."""
        for lane in range(len(self.addresses)):
            owner = self.owner(lane)
            if owner not in {ANYBODY, 0, self._owners.get(lane)}:
                self._listens(owner, lane)

    def _listens(self, worker_id: int, lane: int) -> None:
        self._owners[lane] = worker_id
        self.feed.put(Listening(self._all[worker_id], self.addresses[lane]))

    async def room(self) -> None:
        """As in ``Observer``: readers that are late hold up who sends messages, and nobody else."""
        await self.feed.room()

    def message(self, handle: WorkerHandle, parcel: Parcel) -> None:
        """As in ``Observer``."""
        if parcel.batch.lost:
            logger.warning("%s: no file descriptors left for the sockets of a message", handle)
        sockets = open_sockets(parcel.batch.fds)
        self.feed.put(Message(self._all[handle.id], parcel.data, sockets, parcel.size))

    def gone(self, handle: WorkerHandle) -> None:
        """As in ``Observer``."""
        self.feed.put(Disconnect(self._all[handle.id]))

    def exited(self, handle: WorkerHandle) -> None:
        """As in ``Observer``."""
        self.workers.pop(handle.id, None)
        event: Exit = self._all.pop(handle.id).ended()
        self.feed.put(event)
