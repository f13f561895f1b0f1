"""The master's view of one worker process: its state, its fds, its clocks."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, final

import trio

from balancer.core.lifecycle import Event, State, step
from balancer.core.messages import WorkerMessage
from balancer.master.extras import Extras
from balancer.net.channel import Channel
from balancer.net.handoff import HandoffSender

if TYPE_CHECKING:
    from balancer.core.messages import BootFailed, WorkerRequest
    from balancer.master.live import Edition
    from balancer.master.relay import Relay

__all__ = ["WorkerHandle"]


@final
class WorkerHandle:
    """One worker from the decision to start it until it is buried.

    Owns the master's ends of its pair and channel, and its pidfd.  ``far`` is the worker's end of
    the channel, which the caller owns and closes after the fork: while the master holds it, the
    worker's death is no EOF.  OSError when there are no descriptors for them.
    """

    def __init__(
        self,
        worker_id: int,
        slot: int,
        row: int,
        words: memoryview,
        now: float,
        extras: Extras | None = None,
        *,
        edition: Edition,
        on_trial: bool = False,
    ) -> None:
        self.id = worker_id
        self.slot = slot
        self.row = row
        self.words = words
        self.edition = edition
        self.on_trial = on_trial  # of an edition that isn't in force yet
        self.state = State.STARTING
        self.started_at = now
        self.ready_at: float | None = None
        self.pid: int | None = None
        self.pidfd = -1
        self.sender = HandoffSender.pair()
        try:
            near, self.far = Channel.pair()
        except OSError:
            self.sender.close()
            raise
        self.channel = Channel[WorkerMessage](near, WorkerMessage)
        self.extras = Extras() if extras is None else extras
        self.boot_error: BootFailed | None = None
        self.exit_code: int | None = None
        self.killed_for: str | None = None  # by the master, and why
        self.oom: str | None = None  # by the kernel, as a sentence
        self.relay: Relay | None = None
        self.expected = False  # it was on its way out when it died
        self.told_to_leave = False
        self.connected = True  # it can be spoken to
        self.forked = trio.Event()  # or failed to
        self.booted = trio.Event()  # ready or dead
        self.reaped = trio.Event()  # the exit code is known, or never will be
        self.dead = trio.Event()
        self.idle = trio.Event()  # drained, and nothing is left
        self.resumed = trio.Event()  # takes connections again; not before it was drained

    def __str__(self) -> str:
        return f"worker {self.id} (slot {self.slot}, pid {self.pid})"

    def step(self, event: Event) -> bool:
        """Move on; True when that changed the state."""
        before, self.state = self.state, step(self.state, event)
        return self.state is not before

    def fork_succeeded(self, pid: int, pidfd: int) -> None:
        """It exists; the handle owns the pidfd from now on."""
        if self.far.fileno() < 0:  # too late: it was given up, and reads EOF
            os.close(pidfd)
            return
        self.pid, self.pidfd = pid, pidfd
        self.forked.set()

    def fork_failed(self) -> None:
        """It never will."""
        self.forked.set()
        self.reaped.set()

    async def tell(self, message: WorkerRequest) -> bool:
        """Send it a message; False when it can't hear."""
        return await self.channel.send(message)

    def signal(self, number: signal.Signals) -> None:
        """Signal it, whatever its pid may mean by now."""
        if self.pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Close everything; idempotent."""
        self.words.release()
        self.extras.close()
        self.sender.close()
        self.channel.close()
        self.far.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
