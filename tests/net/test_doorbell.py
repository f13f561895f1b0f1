"""A ring wakes the worker whose bell it is, and nobody else."""

from __future__ import annotations

import os
from contextlib import closing

import trio
import trio.testing

from balancer.net.doorbell import Doorbell
from tests.support.wait import until


async def test_a_ring_is_heard_where_it_was_rung() -> None:
    table = os.memfd_create("table")
    other_table = os.memfd_create("table")
    heard: list[str] = []
    woken = trio.Event()

    def hear(who: str) -> None:
        heard.append(who)
        woken.set()

    with (
        closing(Doorbell(table, 0)) as zero,
        closing(Doorbell(table, 1)) as one,
        closing(Doorbell(other_table, 1)) as stranger,
        closing(Doorbell(table)) as master,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(zero.listen, lambda: hear("zero"))
            nursery.start_soon(one.listen, lambda: hear("one"))
            nursery.start_soon(stranger.listen, lambda: hear("stranger"))
            for bell in (zero, master):
                woken = trio.Event()
                bell.ring(1)
                with trio.fail_after(5):
                    await woken.wait()
            one.ring(7)  # nobody is there
            nursery.cancel_scope.cancel()
    assert heard == ["one", "one"]
    os.close(table)
    os.close(other_table)


async def test_a_worker_has_a_bell_for_each_pool() -> None:
    table = os.memfd_create("table")
    heard: list[int] = []
    with (
        closing(Doorbell(table, 0, 0)) as zero,
        closing(Doorbell(table, 0, 3)) as three,
        closing(Doorbell(table, 1, 3)) as other,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(zero.listen, lambda: heard.append(0))
            nursery.start_soon(three.listen, lambda: heard.append(3))
            other.ring(0)
            await until(lambda: heard)
            other.ring(0, 0)
            await until(lambda: len(heard) > 1)
            nursery.cancel_scope.cancel()
    assert heard == [3, 0]
    os.close(table)


async def test_many_rings_are_one_call_and_never_block() -> None:
    table = os.memfd_create("table")
    calls = 0
    woken = trio.Event()

    def hear() -> None:
        nonlocal calls
        calls += 1
        woken.set()

    with closing(Doorbell(table, 0)) as bell:
        for _ in range(5000):  # more than a socket holds
            bell.ring(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bell.listen, hear)
            with trio.fail_after(5):
                await woken.wait()
            nursery.cancel_scope.cancel()
    assert calls == 1
    os.close(table)


async def test_who_listens_is_let_go_by_the_close() -> None:
    table = os.memfd_create("table")
    bell = Doorbell(table, 0)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bell.listen, lambda: None)
            await trio.testing.wait_all_tasks_blocked()
            bell.close()
    os.close(table)


async def test_a_name_that_is_taken_leaves_a_worker_deaf_and_alive() -> None:
    table = os.memfd_create("table")
    with closing(Doorbell(table, 0)), closing(Doorbell(table, 0)) as second:
        with trio.move_on_after(0.02) as scope:  # nothing is the subject
            await second.listen(lambda: None)
        assert scope.cancelled_caught
    os.close(table)


async def test_it_is_heard_until_it_is_closed() -> None:
    table = os.memfd_create("table")
    bell = Doorbell(table, 0)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bell.listen, lambda: None)
            await trio.testing.wait_all_tasks_blocked()
            bell.close()
    os.close(table)
