"""A worker as its program sees it: Node's ``Worker``, in the master."""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import trio

from balancer.cluster.events import Exit
from balancer.core.lifecycle import State
from balancer.net.mailbox import descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from signal import Signals

    from balancer.master.worker import WorkerHandle
    from balancer.net.mailbox import Sendable

__all__ = ["Process", "Worker"]

SEND_PATIENCE = 30.0
"""Seconds that a message waits for a worker to read the ones before."""


@final
@dataclass(frozen=True, slots=True)
class Process:
    """A worker's process: its pid, once there is one, and how it ended, once it has."""

    pid: int | None
    exit_code: int | None
    signal: Signals | None


@final
class Worker:
    """One worker, from ``fork`` on; it can be kept after its death.

    ``stdout`` and ``stderr`` are None unless the cluster is ``silent``.  They should be read: a
    worker whose pipe is full waits in ``print``.  They are open until they are closed, or the
    cluster is.
    """

    def __init__(self, handle: WorkerHandle, leave: Callable[[WorkerHandle], None]) -> None:
        self._handle = handle
        self._leave = leave
        self._exit: Exit | None = None
        self._exited = trio.Event()
        self.stdout = self._take("stdout")
        self.stderr = self._take("stderr")

    def __repr__(self) -> str:
        return f"<Worker {self.id} (slot {self.slot}, pid {self.pid}): {self.state.value}>"

    @property
    def id(self) -> int:
        """1, 2, 3… in the order of starting; never used again."""
        return self._handle.id

    @property
    def slot(self) -> int:
        """Its place; a worker that replaces it has the same."""
        return self._handle.slot

    @property
    def pid(self) -> int | None:
        """Its process id, None until it is online."""
        return self._handle.pid

    @property
    def process(self) -> Process:
        """Its process, as it is now."""
        code = None if self._exit is None else self._exit.code
        return Process(self.pid, code, None if self._exit is None else self._exit.signal)

    @property
    def state(self) -> State:
        """What it is doing; DEAD when its process is gone."""
        return self._handle.state

    @property
    def is_connected(self) -> bool:
        """Whether it can be spoken to."""
        return self._handle.connected

    @property
    def is_dead(self) -> bool:
        """Whether its process is gone."""
        return self.state is State.DEAD

    @property
    def exited_after_disconnect(self) -> bool | None:
        """Whether it was told to leave, or had asked to; None while it is connected."""
        return None if self.is_connected else self._handle.told_to_leave

    async def send(
        self, data: object, sockets: Sequence[Sendable] = (), *, seconds: float = SEND_PATIENCE
    ) -> bool:
        """Send it anything that msgspec can encode, and perhaps sockets.

        True when it is on its way.  False when the worker is gone, or hasn't read what was sent
        before for so many seconds.  Sockets stay the caller's, and must stay open until this
        returns.

        Raises:
            TypeError, ValueError: this can't be sent.
        """
        mailbox = self._handle.extras.mailbox
        fds = [descriptor(each) for each in sockets]
        if mailbox is None:
            await trio.lowlevel.checkpoint()
            return False
        return await mailbox.send(data, fds, seconds=seconds)

    def disconnect(self) -> Worker:
        """Begin to let it go: no new connections; it finishes those it has, and exits with 0.

        It is out of ``cluster.workers`` at once.  Nobody replaces it: the cluster is one smaller.
        """
        self._leave(self._handle)
        return self

    def kill(self, signal: Signals = signals.SIGTERM) -> None:
        """Send it a signal.  SIGTERM is a wish: it finishes its connections; SIGKILL is the end.

        Where the cluster respawns, it is replaced.
        """
        self._handle.signal(signal)

    async def wait(self) -> Exit:
        """Wait for its end."""
        await self._exited.wait()
        assert self._exit is not None
        return self._exit

    # -- for the cluster ----------------------------------------------------------------------

    def ended(self) -> Exit:
        """Note how it has ended."""
        code = self._handle.exit_code
        signal = None
        if code is not None and code < 0:
            signal = signals.Signals(-code)
            code = None
        self._exit = Exit(self, code, signal, self._handle.told_to_leave)
        self._exited.set()
        return self._exit

    async def close(self) -> None:
        """Close what it captures."""
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                await stream.aclose()

    def _take(self, name: str) -> trio.lowlevel.FdStream | None:
        fd = self._handle.extras.take(name)
        return None if fd is None else trio.lowlevel.FdStream(fd)
