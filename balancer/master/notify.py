"""What systemd is told, and when: sd_notify(3).

    all workers are ready            READY=1
    a reload begins, and ends        RELOADING=1 with MONOTONIC_USEC=, READY=1
    a stop begins                    STOPPING=1
    something has changed            STATUS=, a line for ``systemctl status``
    twice in ``WatchdogSec=``        WATCHDOG=1, if the dispatch loop moves

gunicorn says READY=1 before there is any worker; a unit that is ordered after ours would find
nobody.  RELOADING=1 is said for each request to reload, also during a reload: ``systemctl reload``
of Type=notify-reload waits for one that is younger than its signal.

The status is looked at by the supervisor's tick, which goes anyway: an event for each change of the
queue would cost every connection something.  Only a change is sent, that of the queue once a second
at most, as every message makes systemd tell its own listeners.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, final

import trio

from balancer.master.operations import Phase

if TYPE_CHECKING:
    from balancer.master.vitals import Vitals, Watched
    from balancer.net.sdnotify import Notifier

__all__ = ["Herald"]

STATUS_PAUSE = 1.0
"""Seconds between two messages of which only the queue is new."""
SAYS = {
    Phase.RUNNING: "READY=1",
    Phase.STOPPING: "STOPPING=1",
}
"""What a phase is to systemd, when it begins; RELOADING is in ``_reloading``."""


@final
class Herald:
    """Tells systemd how the server does; ``watch`` is what it looks at."""

    def __init__(self, notifier: Notifier, watch: Watched) -> None:
        self._notifier = notifier
        self._watch = watch
        self._unsent: deque[str] = deque(maxlen=8)
        self._said = ""
        self._said_of: tuple[object, ...] = ()
        self._said_at = float("-inf")

    def on_phase(self, phase: Phase) -> None:
        """The server does something else now, or the same again."""
        word = _reloading() if phase is Phase.RELOADING else SAYS.get(phase)
        if word is not None:
            self._unsent.append(word)
        self._send(self._watch.look())

    def on_tick(self) -> None:
        """Tell what has changed, and what couldn't be told before: READY=1 must not be lost."""
        vitals = self._watch.look()
        if self._unsent or self._is_news(vitals):
            self._send(vitals)

    def _is_news(self, vitals: Vitals) -> bool:
        if _status(vitals) == self._said:
            return False
        rested = trio.current_time() - self._said_at >= STATUS_PAUSE
        return rested or _without_queue(vitals) != self._said_of

    async def pat(self) -> None:
        """Keep the watchdog quiet, until cancelled, for as long as connections are moved."""
        assert self._notifier.watchdog is not None
        while True:
            await self._watch.beat()
            self._notifier.notify("WATCHDOG=1")
            await trio.sleep(self._notifier.watchdog / 2)

    def _send(self, vitals: Vitals) -> None:
        """What is due, in its order, each with the status; or the status alone."""
        status = _status(vitals)
        while self._unsent or status != self._said:
            words = [self._unsent[0]] if self._unsent else []
            if not self._notifier.notify("\n".join([*words, status])):
                return  # the next tick tries again
            if words:
                self._unsent.popleft()
            self._said = status
            self._said_of = _without_queue(vitals)
            self._said_at = trio.current_time()


def _status(vitals: Vitals) -> str:
    given_up = ""
    if vitals.reload_error is not None:  # one line, whatever an error holds
        given_up = f"; the last reload was given up: {' '.join(vitals.reload_error.split())}"
    return (
        f"STATUS={vitals.phase.value}: {vitals.ready} of {vitals.wanted} workers ready, "
        f"{vitals.queued} connections queued{given_up}"
    )


def _without_queue(vitals: Vitals) -> tuple[object, ...]:
    return vitals.phase, vitals.ready, vitals.wanted


def _reloading() -> str:
    """systemd compares the time with its own, of the same clock."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
