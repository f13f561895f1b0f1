"""Waiting for room: in turn, over all workers, and never for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from balancer.upstream.directory import NoEndpoint
from balancer.upstream.errors import ClientLeft
from balancer.upstream.queue import PATIENCE, Queue, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Container


class Machine:
    """What all workers see, without shared memory."""

    def __init__(self) -> None:
        self.lines: dict[int, tuple[int, float]] = {}
        self.queues: dict[int, Queue] = {}
        self.deaf: set[int] = set()
        self.free = 0
        self.served: list[str] = []
        self.somebody = trio.Event()

    def worker(self, row: int, *, limit: int = 100, timeout: float = 5.0) -> Queue:
        queue = self.queues[row] = Queue(Side(self, row), limit, timeout, self.ring)
        return queue

    def ring(self, row: int) -> None:
        if row not in self.deaf:
            self.queues[row].rung()

    def claim(self, name: str) -> Callable[[], str | None]:
        def attempt() -> str | None:
            if not self.free:
                return None
            self.free -= 1
            self.served.append(name)
            self.somebody.set()
            return name

        return attempt

    def release(self, row: int) -> None:
        self.free += 1
        self.queues[row].wake()


class Side:
    def __init__(self, machine: Machine, row: int) -> None:
        self.row = row
        self._machine = machine

    def wait(self, count: int, since: float) -> None:
        self._machine.lines[self.row] = (count, since)

    def waiting(self) -> int:
        return sum(count for count, _ in self._machine.lines.values())

    def oldest_waiter(self, without: Container[int] = ()) -> int | None:
        lines = self._machine.lines.items()
        waiting = [(since, row) for row, (count, since) in lines if count and row not in without]
        return min(waiting)[1] if waiting else None


def ticket(since: float) -> Ticket:
    made = Ticket()
    made.since = since
    return made


async def test_first_come_first_served_over_all_workers(autojump_clock: object) -> None:  # noqa: ARG001
    machine = Machine()
    one, two = machine.worker(1), machine.worker(2)
    async with trio.open_nursery() as nursery:
        for since, queue in enumerate([one, two, one, one, two]):
            nursery.start_soon(queue.wait, machine.claim(str(since)), ticket(float(since + 1)))
            await trio.testing.wait_all_tasks_blocked()
        for count in range(1, 6):
            machine.release(1)
            await trio.testing.wait_all_tasks_blocked()
            assert len(machine.served) == count, "a ring is enough: nobody needed patience"
    assert machine.served == ["0", "1", "2", "3", "4"]
    assert machine.lines == {1: (0, 0.0), 2: (0, 0.0)}
    assert len(one) == len(two) == 0


async def test_two_places_serve_two(autojump_clock: object) -> None:  # noqa: ARG001
    machine = Machine()
    one, two = machine.worker(1), machine.worker(2)
    async with trio.open_nursery() as nursery:
        for since, queue in enumerate([one, two, one]):
            nursery.start_soon(queue.wait, machine.claim(str(since)), ticket(float(since + 1)))
            await trio.testing.wait_all_tasks_blocked()
        machine.free = 3
        one.wake()  # one ring: who gets a place rings on
        await trio.testing.wait_all_tasks_blocked()
        assert machine.served == ["0", "1", "2"]


async def test_a_place_that_became_free_on_the_way_into_the_line() -> None:
    machine = Machine()
    machine.free = 1
    assert await machine.worker(1).wait(machine.claim("a"), Ticket()) == "a"


async def test_a_worker_that_does_not_hear_holds_up_nobody_for_long(
    autojump_clock: object,  # noqa: ARG001
) -> None:
    machine = Machine()
    machine.deaf.add(1)
    one, two = machine.worker(1), machine.worker(2)
    async with trio.open_nursery() as nursery:
        # it does not run at all: its tickets stay where they are
        machine.lines[1] = (3, 1.0)
        nursery.start_soon(two.wait, machine.claim("two"), ticket(2.0))
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        machine.release(2)
        await machine.somebody.wait()
    assert trio.current_time() - began <= PATIENCE * 1.2
    assert len(one) == 0


async def test_the_next_in_line_looks_for_itself_too(autojump_clock: object) -> None:  # noqa: ARG001
    machine = Machine()
    machine.deaf.add(1)
    one = machine.worker(1)
    async with trio.open_nursery() as nursery:
        first = ticket(1.0)
        nursery.start_soon(_expect_left, one, machine, first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(one.wait, machine.claim("second"), ticket(2.0))
        await trio.testing.wait_all_tasks_blocked()
        first.abandon()
        await trio.testing.wait_all_tasks_blocked()
        machine.free = 1  # and nobody rings
        with trio.fail_after(PATIENCE * 1.5):
            await machine.somebody.wait()


async def _expect_left(queue: Queue, machine: Machine, ticket: Ticket) -> None:
    with pytest.raises(ClientLeft):
        await queue.wait(machine.claim("left"), ticket)


async def test_one_that_is_stopped_does_not_stop_the_others(
    autojump_clock: object,  # noqa: ARG001
) -> None:
    machine = Machine()
    machine.deaf.add(1)
    machine.lines[1] = (1, 1.0)  # and it does nothing about it
    two = machine.worker(2)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(9):
            nursery.start_soon(two.wait, machine.claim(str(number)), ticket(2.0 + number))
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(9):
            machine.release(2)
    assert len(machine.served) == 9
    assert trio.current_time() - began <= PATIENCE * 1.2


async def test_and_is_rung_at_all_the_same(autojump_clock: object) -> None:  # noqa: ARG001
    machine = Machine()
    machine.deaf.add(1)
    one, two = machine.worker(1), machine.worker(2)
    async with trio.open_nursery() as nursery:
        machine.lines[1] = (1, 1.0)
        machine.free = 1
        await two.wait(machine.claim("two"), ticket(2.0))  # one is deaf now
        machine.deaf.clear()
        nursery.start_soon(one.wait, machine.claim("one"), ticket(1.0))
        await trio.testing.wait_all_tasks_blocked()
        machine.release(2)
        await trio.testing.wait_all_tasks_blocked()
        assert machine.served == ["two", "one"]


async def test_who_leaves_gives_the_ring_on(autojump_clock: object) -> None:  # noqa: ARG001
    machine = Machine()
    one, two = machine.worker(1), machine.worker(2)
    async with trio.open_nursery() as nursery:
        first = ticket(1.0)
        nursery.start_soon(_expect_left, one, machine, first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(two.wait, machine.claim("two"), ticket(2.0))
        await trio.testing.wait_all_tasks_blocked()
        first.abandon()
        machine.release(2)  # rings at the one that leaves
        await trio.testing.wait_all_tasks_blocked()
        assert machine.served == ["two"]


async def test_a_full_queue_and_a_long_wait(autojump_clock: object) -> None:  # noqa: ARG001
    machine = Machine()
    queue = machine.worker(1, limit=1, timeout=2.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect_late, queue, machine)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(NoEndpoint) as full:
            await queue.wait(machine.claim("full"), Ticket())
    assert "so has the queue" in full.value.reason
    assert full.value.retry_after == 1
    assert trio.current_time() >= 2.0
    assert machine.lines == {1: (0, 0.0)}


async def _expect_late(queue: Queue, machine: Machine) -> None:
    with pytest.raises(NoEndpoint) as late:
        await queue.wait(machine.claim("late"), Ticket())
    assert late.value.reason == "no upstream had room for this request within 2 s"


async def test_no_queue_is_no_wait() -> None:
    with pytest.raises(NoEndpoint):
        await Machine().worker(1, limit=0).wait(lambda: "a", Ticket())
