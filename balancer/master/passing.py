"""Listeners on their way from an old master to a new one: what is offered, and what fits.

A listener that two masters have is ``lent`` on the side that doesn't answer for it, so that
closing it there changes nothing for anybody.  The kernel closes it when the last one does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from balancer.core.upgrade import Offered, Use, choose
from balancer.net.opening import adopt_passed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from balancer.net.listener import Listener
    from balancer.net.upgrade import Heritage
    from balancer.settings import Bind

__all__ = ["Passed", "offer_listeners", "offer_others", "take_listeners", "take_others"]


@final
@dataclass(slots=True, eq=False)
class Passed:
    """The listeners that a new master takes; they are lent to it until it begins.

    Attributes:
        lanes: Those of each bind, by its index.
        shards: More listeners of the same addresses, each with the one that it is like.
        taken: The numbers by which they were offered.
    """

    lanes: dict[int, list[Listener]] = field(default_factory=dict)
    shards: list[tuple[Listener, Listener]] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Close what nobody has come to own."""
        for listeners in self.lanes.values():
            for listener in listeners:
                listener.close()
        for shard, _ in self.shards:
            shard.close()


def offer_listeners(
    binds: Sequence[Bind], lanes: Sequence[Listener], shards: Iterable[Listener]
) -> list[tuple[Offered, Listener]]:
    """Everything that can be passed, with numbers from 0."""
    places: dict[int, int] = {}  # by lane, among those of the same bind
    of_bind: dict[int, list[Listener]] = {}
    for lane in lanes:
        siblings = of_bind.setdefault(lane.bind, [])
        places[lane.lane] = len(siblings)
        siblings.append(lane)
    uses = [*((Use.LANE, lane) for lane in lanes), *((Use.SHARD, shard) for shard in shards)]
    found: list[tuple[Offered, Listener]] = []
    for use, listener in uses:
        offered = Offered(
            number=len(found),
            use=use,
            bind=str(binds[listener.bind]),
            index=listener.bind,
            place=places[listener.lane],
            path=_path(listener),
            inode=listener.inode,
        )
        found.append((offered, listener))
    return found


def offer_others(
    use: str, bind: Bind, listeners: Sequence[Listener], first: int
) -> list[tuple[Offered, Listener]]:
    """Listeners that serve something else than the binds, with numbers from ``first``."""
    return [
        (
            Offered(
                number=first + place,
                use=use,
                bind=str(bind),
                place=place,
                path=_path(listener),
                inode=listener.inode,
            ),
            listener,
        )
        for place, listener in enumerate(listeners)
    ]


def _path(listener: Listener) -> str | None:
    return None if listener.path is None else os.path.abspath(listener.path)


def take_listeners(heritage: Heritage, binds: Sequence[Bind]) -> Passed:
    """What fits the binds of this master, out of the heritage."""
    passed = Passed()
    offered = heritage.offered
    like: dict[tuple[str, int, int], Listener] = {}
    for index, sockets in choose([str(bind) for bind in binds], offered).items():
        if not all(_is_at(_bind_path(binds[index]), each) for each in sockets):
            continue
        for each in sockets:
            lane = _take(heritage, each, passed)
            passed.lanes.setdefault(index, []).append(lane)
            like[each.bind, each.index, each.place] = lane
    for each in offered:
        if each.use == Use.SHARD and (key := (each.bind, each.index, each.place)) in like:
            passed.shards.append((_take(heritage, each, passed), like[key]))
    return passed


def take_others(heritage: Heritage, use: str, bind: Bind) -> Passed:
    """What was offered by ``offer_others`` for the same, as the lanes of bind 0."""
    passed = Passed()
    found = [each for each in heritage.offered if (each.use, each.bind) == (use, str(bind))]
    if all(_is_at(_bind_path(bind), each) for each in found):
        for each in sorted(found, key=lambda one: one.place):
            passed.lanes.setdefault(0, []).append(_take(heritage, each, passed))
    return passed


def _bind_path(bind: Bind) -> str | None:
    """The path of a UNIX socket's bind, wherever this process is."""
    path = getattr(bind, "path", None)
    return None if path is None else os.path.abspath(path)


def _is_at(path: str | None, offered: Offered) -> bool:
    """A relative path means something else in another folder (``--chdir`` has changed)."""
    return path is None or path == offered.path


def _take(heritage: Heritage, offered: Offered, passed: Passed) -> Listener:
    passed.taken.append(offered.number)
    return adopt_passed(heritage.take(offered.number), offered.path, offered.inode)
