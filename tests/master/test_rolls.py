"""Who asks for a roll during one gets exactly one more, and hears how it ended."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from balancer.errors import BootError, RunError
from balancer.master.rolls import Roll, Rolls


class Stage:
    """Rolls that take until they are told how they end."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.rolls = Rolls(self._roll, nursery)
        self.begun: list[Roll] = []
        self._ends, self._end = trio.open_memory_channel[Exception | None](10)

    async def _roll(self, roll: Roll) -> None:
        self.begun.append(roll)
        error = await self._end.receive()
        if error is not None:
            raise error

    async def end(self, error: Exception | None = None) -> None:
        await self._ends.send(error)
        await trio.testing.wait_all_tasks_blocked()


@pytest.fixture
async def stage(nursery: trio.Nursery) -> Stage:
    return Stage(nursery)


async def test_one_after_the_other_and_one_for_all_who_come_meanwhile(stage: Stage) -> None:
    first = stage.rolls.ask(reread=False)
    await trio.testing.wait_all_tasks_blocked()
    second, third = stage.rolls.ask(reread=False), stage.rolls.ask(reread=True)
    assert second is third is not first
    await stage.end()
    await first.done()
    assert stage.begun == [first, second]
    assert second.word == "reload"  # one of those who wait for it wants that
    await stage.end()
    await second.done()
    assert not stage.rolls.running
    fourth = stage.rolls.ask(reread=False)
    assert fourth.word == "restart"
    await stage.end()
    await fourth.done()


async def test_one_that_is_given_up_says_why_and_the_next_one_comes(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = stage.rolls.ask(reread=True), stage.rolls.ask(reread=True)
    await stage.end(BootError("it is broken\nTraceback: 7"))
    with pytest.raises(RunError, match=r"^reload: it is broken$"):
        await first.done()
    assert caplog.messages == ["reload: it is broken; the running workers stay\nTraceback: 7"]
    await stage.end(RunError("it still is"))
    with pytest.raises(RunError, match=r"^reload: it still is$"):
        await second.done()
    assert stage.rolls.error == "it still is"
    third = stage.rolls.ask(reread=True)
    await stage.end()
    await third.done()
    assert stage.rolls.error is None


async def test_at_a_stop_nobody_waits_for_ever(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = stage.rolls.ask(reread=True), stage.rolls.ask(reread=True)
    await trio.testing.wait_all_tasks_blocked()
    stage.rolls.stop()
    await stage.end(RunError("no worker any more"))
    for roll in (first, second):
        with pytest.raises(RunError, match=r"^reload: the server is stopping$"):
            await roll.done()
    assert stage.begun == [first]
    assert caplog.messages == []
    assert stage.rolls.error is None
