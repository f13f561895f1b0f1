"""Requests whose threads are at work: coroutines without a task.

A task that waits for its thread costs as much as the thread's way there and back.  So a connection
is *parked* while its thread works, as the engine parks it between two requests (``http1.inline``),
and driven by one task, the leader, for all that have news: most have a whole response then, which
is sent without waiting, and the connection is parked by the engine again.  One that suspends keeps
the leader's task, and somebody else becomes the leader.

What is bound to a task must not be open across this: a request with a time limit, which has a
cancel scope, is not parked, nor is one in whose task somebody has set a ContextVar.
"""

from __future__ import annotations

import contextvars
from collections import deque
from typing import TYPE_CHECKING, Any, final

import trio

from balancer.http1.inline import begin, carry_on, drive

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from balancer.apps.wsgi.call import Call

    Parked = Coroutine[Any, Any, None]

__all__ = ["Parking"]


@final
class Parking:
    """Keeps what is parked, and drives what is woken, in tasks of the nursery of ``open``."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery
        self._clean: contextvars.Context
        self._open = False
        self._parked: dict[Call, Parked] = {}
        self._woken: deque[Parked] = deque()
        self._leader: trio.lowlevel.Task | None = None

    def open(self, nursery: trio.Nursery) -> None:
        """From now on there is room, until the nursery is cancelled.

        Who is parked then gets a task of its own, to be cancelled as if it had never been parked.
        """
        self._nursery = nursery
        self._clean = contextvars.copy_context()
        self._open = True
        nursery.start_soon(self._clear_at_the_end)
        self._promote()

    @property
    def has_room(self) -> bool:
        """Whether the coroutine that asks may be parked."""
        return self._open and contextvars.copy_context() == self._clean

    def keep(self, call: Call, coroutine: Parked) -> None:
        """Own the coroutine of a call from now on."""
        self._parked[call] = coroutine

    def wake(self, call: Call) -> bool:
        """There is news for a call; False when it isn't parked."""
        coroutine = self._parked.pop(call, None)
        if coroutine is None:
            return False
        self._woken.append(coroutine)
        leader, self._leader = self._leader, None
        if leader is not None:
            trio.lowlevel.reschedule(leader)
        return True

    def _promote(self) -> None:
        self._clean.run(self._nursery.start_soon, self._lead)

    async def _lead(self) -> None:
        while True:
            while self._woken:
                coroutine = self._woken.popleft()
                trap = begin(coroutine)
                if trap is not None:
                    self._promote()
                    await carry_on(coroutine, trap)
                    return
                if contextvars.copy_context() != self._clean:
                    self._promote()
                    return
            self._leader = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._forget)

    def _forget(self, _: object) -> trio.lowlevel.Abort:
        self._leader = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _clear_at_the_end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._open = False
            for coroutine in [*self._parked.values(), *self._woken]:
                self._clean.run(self._nursery.start_soon, drive, coroutine, None)
            self._parked.clear()
            self._woken.clear()
