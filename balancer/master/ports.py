"""The listeners of a server, and who accepts from them.

Under the master's policies it is the master, always.  Under the kernel's the workers accept
by themselves from inherited listeners: ``shared``, one per address for all of them; ``reuseport``,
one per address and slot, so that the replacement of a dead worker inherits its queue.  While a slot
has no worker, the master accepts from that slot's listeners and hands the connections to others.

A listener lives as long as the server (a shard: as its slot), so the port never refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from balancer.core.policy import KERNEL_POLICIES
from balancer.errors import RunError
from balancer.net.listener import add_shard, open_listeners

if TYPE_CHECKING:
    from balancer.master.dispatcher import Dispatcher
    from balancer.net.listener import Listener
    from balancer.settings import Settings

__all__ = ["Ports"]


@final
class Ports:
    """Owns every listener; the dispatcher borrows those that the master accepts from."""

    def __init__(self, settings: Settings) -> None:
        self._backlog = settings.backlog
        self._by_kernel = settings.policy in KERNEL_POLICIES
        self._lanes = open_listeners(
            settings.bind,
            backlog=settings.backlog,
            where=settings.where("bind"),
            reuseport=settings.policy == "reuseport",
        )
        self._shards: dict[int, list[Listener]] = {}  # by slot
        self._leaving: list[Listener] = []  # shards of slots that are gone, but not their workers

    @property
    def addresses(self) -> list[str]:
        """What is listened on, by lane, as a user would type it into a client."""
        return [lane.address for lane in self._lanes]

    @property
    def families(self) -> tuple[int, ...]:
        """The address family of each lane."""
        return tuple(int(lane.sock.family) for lane in self._lanes)

    @property
    def binds(self) -> tuple[int, ...]:
        """The index of the bind that each lane comes from."""
        return tuple(lane.bind for lane in self._lanes)

    @property
    def names(self) -> list[object]:
        """What ``getsockname`` says of each lane."""
        return [lane.sock.getsockname() for lane in self._lanes]

    def inherited(self, slot: int) -> list[int]:
        """The fds that a worker in a slot accepts from by itself."""
        return [listener.fileno() for listener in self._inherited(slot)]

    def inherited_lanes(self, slot: int) -> tuple[int, ...]:
        """The lane of each of these."""
        return tuple(listener.lane for listener in self._inherited(slot))

    def _inherited(self, slot: int) -> list[Listener]:
        if not self._by_kernel:
            return []
        return [lane for lane in self._lanes if not lane.sharded] + self._shards.get(slot, [])

    def open(self, dispatcher: Dispatcher) -> None:
        """Let the master accept what is its to accept."""
        if not self._by_kernel:
            for lane in self._lanes:
                dispatcher.watch(lane)

    def add_slot(self, slot: int) -> None:
        """A slot gets its shards; those of slot 1 are the listeners that were bound first.

        RunError when there are no descriptors for them: then there is no such slot.
        """
        shards: list[Listener] = []
        try:
            shards.extend(  # one by one: those that were made before an error are in it
                lane if slot == 1 else add_shard(lane, backlog=self._backlog)
                for lane in self._lanes
                if lane.sharded
            )
        except OSError as error:
            for shard in shards:
                shard.close()
            raise RunError(f"slot {slot} can't have a listener: {error.strerror}") from error
        self._shards[slot] = shards

    def slot_up(self, slot: int, dispatcher: Dispatcher) -> None:
        """A slot has a worker that accepts for itself."""
        for shard in self._shards.get(slot, []):
            dispatcher.unwatch(shard)

    def slot_down(self, slot: int, dispatcher: Dispatcher) -> None:
        """A slot has no worker: the master stands in."""
        for shard in self._shards.get(slot, []):
            dispatcher.watch(shard)

    def retire_slot(self, slot: int, dispatcher: Dispatcher) -> list[Listener]:
        """A slot is gone: the master stands in on its shards until they are ``finish``ed.

        Those that were bound first stay: others are made like them.
        """
        shards = self._shards.pop(slot, [])
        for shard in shards:
            dispatcher.watch(shard)
        leaving = [shard for shard in shards if shard not in self._lanes]
        self._leaving += leaving
        return leaving

    def finish(self, shards: list[Listener], dispatcher: Dispatcher) -> None:
        """Nobody else accepts from these any more: what waits on them goes to others."""
        for shard in shards:
            if shard in self._leaving:
                self._leaving.remove(shard)
                dispatcher.finish(shard)

    def close(self, dispatcher: Dispatcher) -> None:
        """Accept what has come by now, then listen no more."""
        for slot in list(self._shards):
            self.retire_slot(slot, dispatcher)
        self.finish(list(self._leaving), dispatcher)
        for lane in self._lanes:
            if lane.fileno() >= 0:
                dispatcher.finish(lane)

    def close_at_once(self) -> None:
        """Listen no more, whoever waits."""
        shards = [shard for shards in self._shards.values() for shard in shards]
        for listener in [*self._lanes, *shards, *self._leaving]:
            listener.close()
