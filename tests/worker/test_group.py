"""Several services as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from balancer.worker.group import ServiceGroup, make_group

if TYPE_CHECKING:
    import socket

    from balancer.apps.service import Host


class Fake:
    """A service that notes what it is told."""

    def __init__(self, name: str, log: list[str], word: bool) -> None:
        self.name, self.log, self.word = name, log, word

    async def start(self, nursery: trio.Nursery) -> None:  # noqa: ARG002
        self.log.append(f"start {self.name}")

    def open(self, nursery: trio.Nursery) -> None:  # noqa: ARG002
        self.log.append(f"open {self.name}")

    async def serve(self, sock: socket.SocketType) -> None:  # noqa: ARG002
        self.log.append(f"serve {self.name}")

    def tick(self, now: float) -> None:
        self.log.append(f"tick {self.name} {now:g}")

    def resume(self) -> None:
        self.log.append(f"resume {self.name}")

    def drain(self) -> None:
        self.log.append(f"drain {self.name}")

    def farewell(self) -> bool:
        self.log.append(f"farewell {self.name}")
        return self.word

    async def stop(self) -> None:
        self.log.append(f"stop {self.name}")


async def test_each_lane_has_its_service_and_all_hear_everything() -> None:
    log: list[str] = []
    group = ServiceGroup([Fake("a", log, True), Fake("b", log, False)], [1, 0, 1])
    async with trio.open_nursery() as nursery:
        await group.start(nursery)
        group.open(nursery)
    for serve in group.by_lane:
        await serve(None)  # type: ignore[arg-type]
    group.tick(2.0)
    group.drain()
    group.resume()
    assert group.farewell()
    await group.stop()
    assert log == [
        "start a", "start b", "open a", "open b", "serve b", "serve a", "serve b",
        "tick a 2", "tick b 2",
        "drain a", "drain b", "resume a", "resume b", "farewell a", "farewell b",
        "stop b", "stop a",
    ]  # fmt: skip


def test_there_are_as_many_seats_as_where_there_are_fewest() -> None:
    told: list[object] = []
    hosts: list[Host] = []

    class Worker:
        def seats(self, free: int) -> None:
            told.append(free)

        def leave(self, reason: str) -> None:
            told.append(reason)

        def give_up(self) -> None:
            told.append("gave up")

    def make(_stats: object, host: Host) -> Fake:
        hosts.append(host)
        return Fake("x", [], False)

    make_group([make, make], [0, 1], None, Worker())  # type: ignore[arg-type]
    first, second = hosts
    first.seats(4)
    second.seats(0)
    first.seats(3)
    second.seats(2)
    first.leave("now")
    second.give_up()
    assert told == [4, 0, 0, 2, "now", "gave up"]
