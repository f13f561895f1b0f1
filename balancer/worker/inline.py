"""Serve a connection where it was received, and start a task only if it has to wait.

Most new connections bring their request with them, so serving them never waits: received, read,
answered, closed, all in one step of one task.  A task of its own for each would cost more than the
request.  So the receiving task serves in place, and only when that suspends for the first time does
somebody else take over the receiving (the leader/followers pattern, Schmidt et al., POSA 2): the
connection keeps the task it is in, and never knows.

That a coroutine suspends is seen by driving it by hand: what it yields to the event loop passes
through ``watch``, in the task that it would have run in anyway.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

__all__ = ["watch"]


@types.coroutine
def watch(
    coroutine: Coroutine[Any, Any, None], on_suspend: Callable[[], None]
) -> Generator[Any, Any, bool]:
    """Await a coroutine; call ``on_suspend`` before it suspends for the first time.

    Returns whether it did.  What it raises is raised.
    """
    step: Callable[[Any], Any] = coroutine.send
    argument: Any = None
    suspended = False
    while True:
        try:
            trap = step(argument)
        except StopIteration:
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
