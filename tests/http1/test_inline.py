"""A coroutine that is driven by hand can't tell, and is kept where it parks."""

from __future__ import annotations

import contextvars
import types
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from balancer.http1.inline import begin, carry_on, drive

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Kept:
    """A park that remembers what it was given."""

    is_park = True

    def __init__(self) -> None:
        self.coroutine: Coroutine[Any, Any, None] | None = None

    def keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.coroutine = coroutine

    @types.coroutine
    def wait(self) -> Generator[Any, Any, None]:
        yield self


async def run(coroutine: Coroutine[Any, Any, None]) -> bool:
    """As a leader does; whether it suspended."""
    trap = begin(coroutine)
    if trap is None:
        return False
    await carry_on(coroutine, trap)
    return True


async def nothing() -> None:
    pass


async def sleeps_twice() -> None:
    await trio.sleep(1)
    await trio.sleep(1)


@pytest.mark.parametrize(("body", "suspends"), [(nothing, False), (sleeps_twice, True)])
async def test_a_suspension_is_seen(
    body: Callable[[], Coroutine[None, None, None]],
    suspends: bool,
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert autojump_clock.rate == 0.0
    assert await run(body()) is suspends


async def test_what_it_raises_is_raised(autojump_clock: trio.testing.MockClock) -> None:
    assert autojump_clock.rate == 0.0

    async def fails_at_once() -> None:
        raise ZeroDivisionError

    async def fails_later() -> None:
        await trio.sleep(1)
        raise ZeroDivisionError

    for body in (fails_at_once, fails_later):
        with pytest.raises(ZeroDivisionError):
            await run(body())


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
        await run(careful())
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

    began = autojump_clock.current_time()
    assert await run(patient())
    assert autojump_clock.current_time() - began == pytest.approx(3)


async def test_it_runs_in_the_callers_task_and_context() -> None:
    tasks = []

    async def body() -> None:
        tasks.append(trio.lowlevel.current_task())
        await trio.lowlevel.checkpoint()
        tasks.append(trio.lowlevel.current_task())
        VARIABLE.set("left behind")

    before = contextvars.copy_context()
    await run(body())
    assert tasks == [trio.lowlevel.current_task()] * 2
    assert contextvars.copy_context() != before


async def test_who_parks_is_kept_and_goes_on_in_another_task() -> None:
    park = Kept()
    seen: list[trio.lowlevel.Task] = []

    async def connection() -> None:
        for _ in range(2):
            seen.append(trio.lowlevel.current_task())
            await park.wait()
        await trio.lowlevel.checkpoint()
        await park.wait()
        seen.append(trio.lowlevel.current_task())

    assert not await run(connection())
    while park.coroutine is not None:
        coroutine, park.coroutine = park.coroutine, None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drive, coroutine)
    assert len(seen) == len(set(seen)) == 3


@pytest.mark.parametrize("suspended_before", [False, True])
async def test_who_is_parked_can_be_woken_by_an_exception(suspended_before: bool) -> None:
    park = Kept()
    caught: list[Exception] = []

    async def connection() -> None:
        if suspended_before:
            await trio.lowlevel.checkpoint()
        try:
            await park.wait()
        except trio.ClosedResourceError as error:
            caught.append(error)
            await trio.lowlevel.checkpoint()

    await run(connection())
    assert park.coroutine is not None
    error = trio.ClosedResourceError("time is over")
    await drive(park.coroutine, error)
    assert caught == [error]


async def test_who_is_parked_can_be_closed() -> None:
    park = Kept()
    cleaned: list[str] = []

    async def connection() -> None:
        try:
            await park.wait()
        finally:
            cleaned.append("up")

    await run(connection())
    assert park.coroutine is not None
    park.coroutine.close()
    assert cleaned == ["up"]
