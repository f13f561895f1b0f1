"""The listeners of a server, and who accepts from them.

Under the master's policies it is the master, always.  Under the kernel's the workers accept
by themselves from inherited listeners: ``shared``, one per address for all of them; ``reuseport``,
one per address and slot, so that the replacement of a dead worker inherits its queue.  While a slot
has no worker, the master accepts from that slot's listeners and hands the connections to others.

A listener lives as long as the server (a shard: as its slot), so the port never refuses; or until a
reload no longer finds its bind.  What comes and goes then are *openings*: a bind with its
listeners, one lane for each, whose numbers are never used again::

    prepare          what is new is opened; nobody knows it yet, and nothing is accepted
    adopt            the reload is in force: what it doesn't name isn't wanted any more
    close_unwanted   before the last worker that knows it drains: all who wait there are his
    drop             instead of adopt: the reload was given up, and what was new goes again

A bind that stays keeps its listeners, wherever it stands in the file, and so does one that comes
back before it has left.

A master that takes over from another one (``master.heir``) has that one's listeners, and is
``held`` until it begins: nobody accepts from them, neither it nor its workers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from balancer.core.policy import KERNEL_POLICIES
from balancer.errors import RunError
from balancer.net.identity import access_of
from balancer.net.listener import keep_hearing
from balancer.net.opening import add_shard, open_listeners

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from balancer.master.dispatcher import Dispatcher
    from balancer.master.passing import Passed
    from balancer.net.listener import Listener
    from balancer.settings import Bind, Settings

__all__ = ["Ports"]

logger = logging.getLogger("balancer")


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Opening:
    """A bind, and the listeners that it means: a name may stand for two addresses."""

    bind: Bind
    listeners: tuple[Listener, ...]


@final
class Ports:
    """Owns every listener; the dispatcher borrows those that the master accepts from.

    Those in ``passed`` are of another master, which this one takes over instead of opening its own.

    Raises:
        RunError: an address can't be bound.
    """

    def __init__(self, settings: Settings, passed: Passed | None = None) -> None:
        self._backlog = settings.backlog
        self._by_kernel = settings.policy in KERNEL_POLICIES
        self._reuseport = settings.policy == "reuseport"
        listeners = self._open(
            settings.bind, settings, 0, passed=None if passed is None else passed.lanes
        )
        self._openings = _openings(settings.bind, listeners)
        self._new: list[_Opening] = []  # prepared, and not in force yet
        self._next = len(listeners)  # lane
        self.lanes: Mapping[int, int] = {each.lane: each.bind for each in listeners}
        """The lanes of the settings in force, and the index of the bind that each comes from."""
        self._shards: dict[int, list[Listener]] = {}  # by slot
        self._leaving: list[Listener] = []  # shards of slots that are gone, but not their workers
        self._spare: list[Listener] = []  # passed to us, and nobody's yet
        self._down: set[int] = set()  # slots without a worker
        self.held = passed is not None
        """Nobody accepts yet."""
        for shard, like in passed.shards if passed is not None else ():
            shard.lane, shard.bind = like.lane, like.bind
            self._spare.append(shard)

    def _open(
        self,
        binds: tuple[Bind, ...],
        settings: Settings,
        first: int,
        beside: tuple[Bind, ...] = (),
        passed: Mapping[int, list[Listener]] | None = None,
    ) -> list[Listener]:
        return open_listeners(
            binds,
            backlog=settings.backlog,
            where=settings.where("bind"),
            reuseport=self._reuseport,
            first=first,
            beside=beside,
            access=access_of(settings),
            passed=passed,
        )

    @property
    def listeners(self) -> list[Listener]:
        """One for each lane, those that are leaving at the end; without shards."""
        found = [each for opening in self._openings for each in opening.listeners]
        last = len(self.lanes)
        return sorted(found, key=lambda each: (self.lanes.get(each.lane, last), each.lane))

    @property
    def addresses(self) -> list[str]:
        """What is listened on, as a user would type it into a client, in the order of the binds."""
        return [each.address for each in self.listeners if each.lane in self.lanes]

    @property
    def names(self) -> list[object]:
        """What ``getsockname`` says of each of these."""
        return [each.sock.getsockname() for each in self.listeners if each.lane in self.lanes]

    def family(self, lane: int) -> int:
        """The address family of a lane; 0 when its listener has been closed by now."""
        found = self._find(lane)
        return 0 if found is None else int(found.sock.family)

    def address(self, lane: int) -> str:
        """What a lane listens on; nothing when its listener has been closed by now."""
        found = self._find(lane)
        return "" if found is None else found.address

    def inherited(self, slot: int, lanes: Container[int]) -> list[Listener]:
        """What a worker in a slot accepts from by itself, of the lanes that it knows."""
        if not self._by_kernel:
            return []
        common = [each for each in self.listeners if not self._is_sharded(each)]
        return [each for each in common + self._shards.get(slot, []) if each.lane in lanes]

    def _is_sharded(self, listener: Listener) -> bool:
        # what was bound by another master may have been bound for another policy
        return self._reuseport and listener.sharded

    def _find(self, lane: int) -> Listener | None:
        return next((each for each in self.listeners if each.lane == lane), None)

    def open(self, dispatcher: Dispatcher) -> None:
        """Let the master accept what is its to accept."""
        self.held = False
        self._watch(self.listeners, dispatcher)
        for slot in self._down:
            self.slot_down(slot, dispatcher)

    def _watch(self, listeners: list[Listener], dispatcher: Dispatcher) -> None:
        if not self._by_kernel:
            for listener in listeners:
                dispatcher.watch(listener)

    # -- another master -----------------------------------------------------------------------

    @property
    def shards(self) -> list[Listener]:
        """All that aren't in ``listeners``."""
        first = self.listeners
        return [each for each in self._all() if each not in first]

    @property
    def lent(self) -> bool:
        """Whether another master has them too, and answers for them."""
        return any(each.lent for each in self.listeners)

    def keep_hearing(self) -> None:
        """Whatever the workers of another master, which has died, do to the listeners."""
        if self._by_kernel:
            for listener in self._all():
                keep_hearing(listener.sock)

    @property
    def ready_slots(self) -> int | None:
        """For how many slots there are shards without opening any, if that matters.

        One that is opened gets clients at once, whom nobody serves before the server is open.
        """
        sharded = [each for each in self.listeners if each.lent and self._is_sharded(each)]
        spares = [sum(each.lane == lane.lane for each in self._spare) for lane in sharded]
        return 1 + min(spares) if spares else None

    def own(self, dispatcher: Dispatcher) -> list[Listener]:
        """The other master lends nothing any more: this one answers for all listeners.

        Those that it has no slot for are to be ``finish``ed when the other one's workers accept
        from them no more.
        """
        for listener in self._all():
            if listener.lent:
                listener.lent = False
                listener.sock.listen(self._backlog)  # its own idea of that
        surplus, self._spare = self._spare, []
        self._leaving += surplus
        for shard in surplus:
            dispatcher.watch(shard)
        return surplus

    def give_back(self) -> None:
        """The other master answers for all of them again."""
        for listener in self._all():
            listener.lent = True

    # -- slots --------------------------------------------------------------------------------

    def add_slot(self, slot: int) -> None:
        """A slot gets its shards; those of slot 1 are the listeners that were bound first.

        RunError when there are no descriptors for them: then there is no such slot.
        """
        shards: list[Listener] = []
        try:
            self._add_shards(shards, slot, self.listeners)
        except OSError as error:
            for shard in shards:
                shard.close()
            raise RunError(f"slot {slot} can't have a listener: {error.strerror}") from error
        self._shards[slot] = shards

    def _add_shards(self, shards: list[Listener], slot: int, listeners: list[Listener]) -> None:
        shards.extend(  # one by one: those that were made before an error are in it
            each if slot == 1 else self._new_shard(each)
            for each in listeners
            if self._is_sharded(each)
        )

    def _new_shard(self, like: Listener) -> Listener:
        for index, spare in enumerate(self._spare):
            if spare.lane == like.lane:
                return self._spare.pop(index)
        return add_shard(like, backlog=self._backlog)

    def slot_up(self, slot: int, dispatcher: Dispatcher, lanes: Container[int]) -> None:
        """A slot has a worker that accepts for itself, from the lanes that it knows."""
        self._down.discard(slot)
        for shard in self._shards.get(slot, []):
            if shard.lane in lanes:
                dispatcher.unwatch(shard)
            else:
                dispatcher.watch(shard)

    def slot_down(self, slot: int, dispatcher: Dispatcher) -> None:
        """A slot has no worker: the master stands in."""
        self._down.add(slot)
        self._stand_in(self._shards.get(slot, []), dispatcher)

    def _stand_in(self, shards: list[Listener], dispatcher: Dispatcher) -> None:
        if not self.held:
            for shard in shards:
                dispatcher.watch(shard)

    def retire_slot(self, slot: int, dispatcher: Dispatcher) -> list[Listener]:
        """A slot is gone: the master stands in on its shards until they are ``finish``ed.

        Those that were bound first stay: others are made like them.
        """
        shards = self._shards.pop(slot, [])
        self._down.discard(slot)
        self._stand_in(shards, dispatcher)
        first = self.listeners
        leaving = [shard for shard in shards if shard not in first]
        self._leaving += leaving
        return leaving

    def finish(self, shards: list[Listener], dispatcher: Dispatcher) -> None:
        """Nobody else accepts from these any more: what waits on them goes to others."""
        for shard in shards:
            if shard in self._leaving:
                self._leaving.remove(shard)
                dispatcher.finish(shard)

    # -- a reload -----------------------------------------------------------------------------

    def prepare(self, settings: Settings, dispatcher: Dispatcher) -> dict[int, int]:
        """Open what is new in these settings; their lanes, with the index of the bind of each.

        Raises:
            RunError: an address can't be bound, or there are no descriptors.
        """
        unused = list(self._openings)
        kept: dict[int, _Opening] = {}
        for index, bind in enumerate(settings.bind):
            found = next((each for each in unused if each.bind == bind), None)
            if found is not None:
                unused.remove(found)
                kept[index] = found
        new = [index for index in range(len(settings.bind)) if index not in kept]
        binds = tuple(settings.bind[index] for index in new)
        beside = tuple(each.bind for each in self._openings)
        made = _openings(binds, self._open(binds, settings, self._next, beside))
        self._next += sum(len(each.listeners) for each in made)
        self._openings += made
        self._new = made
        lanes = {
            listener.lane: index
            for index, opening in [*kept.items(), *zip(new, made, strict=True)]
            for listener in opening.listeners
        }
        try:
            self._introduce([each for one in made for each in one.listeners], dispatcher)
        except OSError as error:
            self.drop(dispatcher)
            where = settings.where("bind")
            raise RunError(f"{where}: no listener for every worker: {error.strerror}") from error
        return lanes

    def _introduce(self, listeners: list[Listener], dispatcher: Dispatcher) -> None:
        """Listeners that no worker knows: until one does, nothing is accepted from them."""
        for each in listeners:
            dispatcher.lanes.add(each.lane)
        self._watch(listeners, dispatcher)
        if self._reuseport:
            lanes = {each.lane for each in listeners if each.sharded}
            for slot, shards in self._shards.items():
                self._add_shards(shards, slot, listeners)
            for each in self._all():
                if each.lane in lanes:
                    dispatcher.watch(each)

    def adopt(self, lanes: Mapping[int, int], backlog: int) -> None:
        """These lanes, as prepared, are those of the settings in force."""
        self.lanes, self._new = lanes, []
        for each in self._all():
            each.bind = lanes.get(each.lane, each.bind)
        if backlog != self._backlog:
            self._backlog = backlog
            for each in self._all():
                each.sock.listen(backlog)  # again: on Linux it changes nothing but that

    def drop(self, dispatcher: Dispatcher) -> None:
        """What was prepared isn't wanted: close it, whoever waits there."""
        for opening in self._new:
            for each in self._take_out(opening):
                dispatcher.unwatch(each)
                each.close()
            for each in opening.listeners:
                dispatcher.lanes.remove(each.lane)
        self._new = []

    def close_unwanted(self, dispatcher: Dispatcher) -> dict[int, str]:
        """Close what isn't wanted any more and queue who waits there; the lanes and addresses.

        To be done while there is somebody who knows these lanes.
        """
        leaving = [each for each in self._openings if each.listeners[0].lane not in self.lanes]
        lanes = {}
        for opening in leaving:
            for each in self._take_out(opening):
                dispatcher.finish(each)
                each.give_back()
                lanes[each.lane] = each.address
        return lanes

    def _take_out(self, opening: _Opening) -> list[Listener]:
        """Its listeners and all their shards, which are the caller's to close."""
        lanes = {each.lane for each in opening.listeners}
        found = [each for each in self._all() if each.lane in lanes]
        self._openings.remove(opening)
        for listeners in (*self._shards.values(), self._leaving, self._spare):
            listeners[:] = [each for each in listeners if each.lane not in lanes]
        return found

    # -- the end ------------------------------------------------------------------------------

    def _all(self) -> list[Listener]:
        shards = [shard for shards in self._shards.values() for shard in shards]
        return list(dict.fromkeys([*self.listeners, *shards, *self._leaving, *self._spare]))

    def close(self, dispatcher: Dispatcher) -> None:
        """Accept what has come by now, then listen no more."""
        for slot in list(self._shards):
            self.retire_slot(slot, dispatcher)
        self._leaving += self._spare
        self._spare = []
        self.finish(list(self._leaving), dispatcher)
        for each in self.listeners:
            if each.fileno() >= 0:
                dispatcher.finish(each)

    def close_at_once(self) -> None:
        """Listen no more, whoever waits."""
        for listener in self._all():
            listener.close()


def _openings(binds: tuple[Bind, ...], listeners: list[Listener]) -> list[_Opening]:
    """The listeners, which come from these binds, together with theirs."""
    return [
        _Opening(bind, tuple(each for each in listeners if each.bind == index))
        for index, bind in enumerate(binds)
    ]
