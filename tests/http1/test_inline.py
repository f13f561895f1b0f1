"""A coroutine that is watched can't tell."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from balancer.http1.inline import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Log:
    def __init__(self) -> None:
        self.suspensions = 0

    def __call__(self) -> None:
        self.suspensions += 1


async def nothing() -> None:
    pass


async def sleeps_twice() -> None:
    await trio.sleep(1)
    await trio.sleep(1)


@pytest.mark.parametrize(("body", "suspends"), [(nothing, False), (sleeps_twice, True)])
async def test_the_first_suspension_is_reported_once(
    body: Callable[[], Coroutine[None, None, None]],
    suspends: bool,
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert autojump_clock.rate == 0.0
    log = Log()
    assert await watch(body(), log) is suspends
    assert log.suspensions == suspends


async def test_what_it_raises_is_raised(autojump_clock: trio.testing.MockClock) -> None:
    assert autojump_clock.rate == 0.0

    async def fails_at_once() -> None:
        raise ZeroDivisionError

    async def fails_later() -> None:
        await trio.sleep(1)
        raise ZeroDivisionError

    for body in (fails_at_once, fails_later):
        with pytest.raises(ZeroDivisionError):
            await watch(body(), Log())


async def test_it_is_cancelled_and_may_clean_up(autojump_clock: trio.testing.MockClock) -> None:
    assert autojump_clock.rate == 0.0
    cleaned: list[str] = []

    async def careful() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            cleaned.append("up")

    with trio.move_on_after(5) as scope:
        await watch(careful(), Log())
    assert scope.cancelled_caught
    assert cleaned == ["up"]


async def test_it_may_catch_what_is_thrown_in_and_go_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def patient() -> None:
        with trio.move_on_after(1):
            await trio.sleep_forever()
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)

    log = Log()
    began = autojump_clock.current_time()
    assert await watch(patient(), log)
    assert log.suspensions == 1
    assert autojump_clock.current_time() - began == pytest.approx(3)


async def test_it_runs_in_the_callers_task_and_context() -> None:
    tasks = []

    async def body() -> None:
        tasks.append(trio.lowlevel.current_task())
        await trio.lowlevel.checkpoint()
        tasks.append(trio.lowlevel.current_task())
        VARIABLE.set("left behind")

    before = contextvars.copy_context()
    await watch(body(), Log())
    assert tasks == [trio.lowlevel.current_task()] * 2
    assert contextvars.copy_context() != before
