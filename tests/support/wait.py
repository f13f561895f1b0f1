"""Wait for what nobody tells: shared memory, a thread's progress, a state without an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["until"]

INTERVAL = 0.005


async def until(met: Callable[[], object], *, deadline: float = 10.0) -> None:
    """Look until it is so; trio.TooSlowError after ``deadline`` seconds."""
    with trio.fail_after(deadline):
        while not met():  # noqa: ASYNC110 - that is what it is for
            await trio.sleep(INTERVAL)
