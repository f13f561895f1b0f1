"""What commands ask of the upstreams; the rest of the operations is tested with real servers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast, final

import pytest
import trio
import trio.testing

from balancer.errors import RunError
from balancer.master.live import Live
from balancer.master.operations import Operations
from balancer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence


@final
class Upstreams:
    """Notes what it is told; nothing is idle until it is ``over``."""

    def __init__(self) -> None:
        self.book = SimpleNamespace(pools=["one"])
        self.calls: list[tuple[object, ...]] = []
        self.over = trio.Event()

    def drain(self, name: str) -> list[Any]:
        self.calls.append(("drain", name))
        return [f"row of {name}"]

    async def idle(self, rows: Sequence[Any], name: str) -> None:
        self.calls.append(("idle", *rows, name))
        await self.over.wait()

    def resume(self, name: str) -> None:
        self.calls.append(("resume", name))

    def weigh(self, name: str, weight: int) -> None:
        self.calls.append(("weigh", name, weight))


def operations(nursery: trio.Nursery, upstreams: Upstreams | None) -> Operations:
    nothing = cast("Any", None)
    rolling, behind = cast("Any", SimpleNamespace()), cast("Any", upstreams)
    return Operations(
        Live(Settings()), nothing, nothing, nothing, nothing, rolling, nursery, None, behind
    )


async def test_upstreams_are_drained_resumed_and_weighed(nursery: trio.Nursery) -> None:
    upstreams = Upstreams()
    told = operations(nursery, upstreams)
    await told.drain_upstream("a:80")
    await told.resume_upstream("a:80")
    await told.weigh("a:80", 3)
    assert upstreams.calls == [("drain", "a:80"), ("resume", "a:80"), ("weigh", "a:80", 3)]
    drained = trio.Event()

    async def wait() -> None:
        await told.drain_upstream("b:80", wait=True)
        drained.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    assert upstreams.calls[3:] == [("drain", "b:80"), ("idle", "row of b:80", "b:80")]
    assert not drained.is_set()
    upstreams.over.set()
    with trio.fail_after(5):
        await drained.wait()


async def test_without_upstreams_there_is_a_sentence(nursery: trio.Nursery) -> None:
    told = operations(nursery, None)
    for ask in (told.drain_upstream("a:80"), told.resume_upstream("a:80"), told.weigh("a:80", 3)):
        with pytest.raises(RunError, match=r"a:80: this server has no upstreams, only workers"):
            await ask
