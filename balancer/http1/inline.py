"""Run a connection in the task that happens to have news of it, and in none while it is idle.

Most requests are answered without waiting for anything: read, answered, sent, all in one step.  A
task of their own would cost more than they do.  So a connection is a coroutine that is driven by
hand (``watch``) in a *leader*'s task, which receives connections, or hears of their next requests:

* it ends, or it is idle again: the leader goes on with the next one;
* it suspends: the leader's task is the connection's from now on, and somebody else becomes the
  leader (leader/followers, Schmidt et al., POSA 2).  The connection never knows.

An idle connection says so by yielding a ``Park``, which keeps the coroutine until there is news;
the next leader to hear of it may run in another task.  What is bound to a task (a nursery, a cancel
scope, a ContextVar) must not be open across that, and isn't: only the engine parks, and only
between two requests.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

__all__ = ["Park", "drive", "watch"]


class Park(Protocol):
    """What an idle coroutine yields."""

    is_park: bool
    """True; what trio's own traps don't have."""

    def keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Own the coroutine from now on: drive it when there is news, or close it."""


@types.coroutine
def watch(
    coroutine: Coroutine[Any, Any, None],
    on_suspend: Callable[[], None],
    error: Exception | None = None,
) -> Generator[Any, Any, bool]:
    """Drive a coroutine until it ends or parks; call ``on_suspend`` before it first suspends.

    Returns whether it did.  What it raises is raised.  With ``error``, that is what it is woken by.
    """
    step: Callable[[Any], Any] = coroutine.send
    argument: Any = None
    if error is not None:
        step, argument = coroutine.throw, error
    suspended = False
    while True:
        try:
            trap = step(argument)
        except StopIteration:
            return suspended
        if getattr(trap, "is_park", False):
            trap.keep(coroutine)
            return suspended
        if not suspended:
            suspended = True
            on_suspend()
        try:
            argument = yield trap
        except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
            step, argument = coroutine.throw, error
        else:
            step = coroutine.send


async def drive(coroutine: Coroutine[Any, Any, None], error: Exception | None = None) -> None:
    """``watch`` in a task of its own, for a coroutine that nobody leads."""
    await watch(coroutine, _nothing, error)


def _nothing() -> None:
    pass
