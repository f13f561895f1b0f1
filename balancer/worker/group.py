"""Several services in one worker, as one: each serves the connections of its own lanes."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    import trio

    from balancer.apps.service import Host, Service
    from balancer.http1.tally import Stats

__all__ = ["ServiceGroup", "make_group"]


def make_group(
    makes: Sequence[Callable[[Stats, Host], Service]],
    of_lane: Sequence[int],
    stats: Stats,
    host: Host,
) -> ServiceGroup:
    """The services that ``makes`` make, as one, each with its part of the host."""
    seats: dict[int, int] = {}
    members = [make(stats, _Share(host, seats, index)) for index, make in enumerate(makes)]
    return ServiceGroup(members, of_lane)


@final
class _Share:
    """The worker as one of its services sees it.

    There are as many seats as the service that has fewest: which of them the next connection is for
    nobody knows before it has come.
    """

    def __init__(self, host: Host, seats: dict[int, int], index: int) -> None:
        self._host = host
        self._seats = seats
        self._index = index
        self.leave = host.leave
        self.give_up = host.give_up

    def seats(self, free: int) -> None:
        """As in ``Host``."""
        self._seats[self._index] = free
        self._host.seats(min(self._seats.values()))


@final
class ServiceGroup:
    """A ``Service`` of services; ``of_lane`` says by index which of them serves each lane."""

    def __init__(self, services: Sequence[Service], of_lane: Sequence[int]) -> None:
        self._services = services
        self.by_lane = [services[index].serve for index in of_lane]

    async def start(self, nursery: trio.Nursery) -> None:
        """One after the other, as they were given."""
        for service in self._services:
            await service.start(nursery)

    def open(self, nursery: trio.Nursery) -> None:
        """As in ``Service``."""
        for service in self._services:
            service.open(nursery)

    async def serve(self, sock: socket.SocketType) -> None:
        """Nobody's: ``by_lane`` knows whose a connection is."""
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """As in ``Service``."""
        for service in self._services:
            service.tick(now)

    def drain(self) -> None:
        """As in ``Service``."""
        for service in self._services:
            service.drain()

    def resume(self) -> None:
        """As in ``Service``."""
        for service in self._services:
            service.resume()

    def farewell(self) -> bool:
        """As in ``Service``: every one of them says its word."""
        said = [service.farewell() for service in self._services]
        return any(said)

    async def stop(self) -> None:
        """In the opposite order of ``start``."""
        for service in reversed(self._services):
            await service.stop()
