"""Run a connection in the task that happens to have news of it, and in none while it is idle.

Most requests are answered without waiting for anything: read, answered, sent, all in one step.  A
task of their own would cost more than they do.  So a connection is a coroutine that is driven by
hand in a *leader*'s task, which receives connections, or hears of their next requests:

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

__all__ = ["Park", "begin", "carry_on", "drive"]


class Park(Protocol):
    """What an idle coroutine yields."""

    is_park: bool
    """True; what trio's own traps don't have."""

    def keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Own the coroutine from now on: drive it when there is news, or close it."""


def begin(coroutine: Coroutine[Any, Any, None], error: Exception | None = None) -> Any:  # noqa: ANN401 - a trap
    """Drive a coroutine until it ends or parks: None; or suspends: what ``carry_on`` needs.

    What it raises is raised.  With ``error``, that is what it is woken by.
    """
    try:
        trap = coroutine.send(None) if error is None else coroutine.throw(error)
    except StopIteration:
        return None
    return _unless_parked(coroutine, trap)


@types.coroutine
def carry_on(coroutine: Coroutine[Any, Any, None], trap: Any) -> Generator[Any, Any, None]:  # noqa: ANN401
    """Let a coroutine that has suspended go on in this task until it ends or parks."""
    step: Callable[[Any], Any]
    while trap is not None:
        try:
            argument = yield trap
        except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
            step, argument = coroutine.throw, error
        else:
            step = coroutine.send
        try:
            trap = step(argument)
        except StopIteration:
            return
        trap = _unless_parked(coroutine, trap)


def _unless_parked(coroutine: Coroutine[Any, Any, None], trap: Any) -> Any:  # noqa: ANN401
    if getattr(trap, "is_park", False):
        trap.keep(coroutine)
        return None
    return trap


async def drive(coroutine: Coroutine[Any, Any, None], error: Exception | None = None) -> None:
    """Both in a task of its own, for a coroutine that nobody leads."""
    trap = begin(coroutine, error)
    if trap is not None:
        await carry_on(coroutine, trap)
