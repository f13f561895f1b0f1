"""The worker's event loop: serves what it receives, beats its heart, and obeys the master.

Two nurseries, one in the other: connections outside, everything that brings connections inside.  To
drain is to end the inner one and wait for the outer, up to a deadline.

A worker never leaves on its own.  On SIGTERM, when it has served ``max_requests``, or when its
service has had enough, it tells the master that it wants to, and goes on until the master, who has
recalled what was on its way, says ``Drain``.  EOF on the channel is the master's death: then it
drains by itself.
"""

from __future__ import annotations

import gc
import logging
import math
import random
import signal
from functools import partial
from typing import TYPE_CHECKING, final

import trio

from balancer.core.admission import Admission, Doors
from balancer.core.liveness import TICK
from balancer.core.messages import (
    BootFailed,
    Drained,
    Leaving,
    Quit,
    Ready,
    Reopen,
    WorkerRequest,
)
from balancer.errors import AppError, BalancerError, ExitCode
from balancer.http1.inline import drive
from balancer.net.channel import Channel
from balancer.worker.group import ServiceGroup
from balancer.worker.intake import RequestLimit
from balancer.worker.receiver import KernelAcceptor, Receiver

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from balancer.apps.service import Host, Service
    from balancer.core.messages import WorkerConfig
    from balancer.http1.config import Stats
    from balancer.net.handoff import HandoffReceiver
    from balancer.net.slots import SlotWriter
    from balancer.worker.accesslog import AccessLog
    from balancer.worker.current import CurrentWorker
    from balancer.worker.hooks import WorkerHooks

__all__ = ["Worker"]

logger = logging.getLogger("balancer")

LAST_STOP = 1.0
"""Seconds for the app to stop, however late it is."""
FAREWELL = 1.0
"""Seconds for the last words on connections whose time is over."""


@final
class Worker:
    """One worker's shell; owns every fd that it was born with."""

    def __init__(
        self,
        config: WorkerConfig,
        make_service: Callable[[Stats, Host], Service],
        pair: HandoffReceiver,
        control: socket.socket,
        slot: SlotWriter,
        families: tuple[int, ...],
        listeners: list[socket.socket],
        hooks: WorkerHooks | None = None,
        access: AccessLog | None = None,
        inherited: tuple[int, ...] = (),
        current: CurrentWorker | None = None,
    ) -> None:
        self._hooks = hooks
        self._config = config
        self._access = access
        self._slot = slot
        self._enough = trio.Event()  # requests
        limit: RequestLimit | None = None
        if config.max_requests:
            jitter = random.randint(0, config.max_requests_jitter)
            limit = RequestLimit(slot, config.max_requests + jitter, self._enough.set)
        self._admission = Admission(config.worker_connections)
        self._service = make_service(limit or slot, self)
        if isinstance(self._service, ServiceGroup):
            self._serves = self._service.by_lane
        else:
            self._serves = [self._service.serve] * max(1, len(families))
        self._channel = Channel[WorkerRequest](control, WorkerRequest)
        self._receiver = Receiver(pair, self._admission, slot, families, self._serve)
        # From one listener for all, one at a time: a batch would starve the others.
        batch = 1 if config.shared_accept else 16
        lanes = inherited or (0,) * len(listeners)
        self._acceptors = [
            KernelAcceptor(sock, self._admission, slot, partial(self._start, lane), batch=batch)
            for sock, lane in zip(listeners, lanes, strict=True)
        ]
        self._asked_to_leave = False
        self.gave_up = False
        """Something of the app still runs, and nothing can stop it."""
        self._current = current
        if current is not None:
            current.attach(self._channel, self._receiver, frozenset(lanes))
        self._starting = trio.CancelScope()
        self._idle = trio.Event()
        self._done = trio.Event()
        self._deadline = math.inf  # of the drain
        self._acceptances = trio.CancelScope()
        self._nursery: trio.Nursery  # of what brings connections
        self._connections: trio.Nursery

    async def run(self) -> ExitCode:
        """Start the app, serve until drained or told to quit, stop the app; the exit code."""
        try:
            return await self._run()
        finally:
            if self._access is not None:
                self._access.close()

    async def _run(self) -> ExitCode:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._signals)
            nursery.start_soon(self._obey)
            if self._current is not None:
                nursery.start_soon(self._current.read_mail)
            code = await self._start_app(nursery)
            if code is ExitCode.OK and not self._starting.cancelled_caught:
                await self._serve_all()
                seconds = self._deadline - trio.current_time()
                with trio.move_on_after(max(seconds, LAST_STOP)) as scope:
                    await self._service.stop()
                if scope.cancelled_caught:
                    logger.warning("the app didn't stop in time")
            nursery.cancel_scope.cancel()
        return code

    async def _start_app(self, nursery: trio.Nursery) -> ExitCode:
        try:
            with self._starting:  # until the master doesn't want it any more
                await self._service.start(nursery)
                if self._hooks is not None:
                    self._hooks.post_worker_init()
        except BalancerError as error:
            is_app = isinstance(error, AppError)
            await self._channel.send(BootFailed(str(error), app=is_app))
            return error.exit_code
        return ExitCode.OK

    async def _serve_all(self) -> None:
        async with trio.open_nursery() as connections:
            self._connections = connections
            self._service.open(connections)
            # What the app has built by now stays: no collection has to look at it again.
            gc.collect()
            gc.freeze()
            async with trio.open_nursery() as nursery:
                self._receiver.start(connections)
                self._nursery.start_soon(self._beat)  # also while the app stops
                nursery.start_soon(self._leave_when_enough)
                nursery.start_soon(self._accept)
                await self._channel.send(Ready())
                # One that came while the worker started has been kept; after Ready, because the
                # master lets nobody go that has not been welcomed.
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
                await self._done.wait()
                nursery.cancel_scope.cancel()
            connections.cancel_scope.cancel()

    def _start(self, lane: int, sock: socket.SocketType) -> None:
        self._connections.start_soon(drive, self._serve(sock, lane))

    async def _serve(self, sock: socket.SocketType, lane: int) -> None:
        try:
            await self._serves[lane](sock)
        finally:
            self._slot.closed()
            if self._admission.ended():
                self._receiver.room()
            for acceptor in self._acceptors:
                acceptor.room()
            if not self._admission.active:
                self._idle.set()

    async def _beat(self) -> None:
        while True:
            self._slot.beat()
            self._service.tick(trio.current_time())
            if self._access is not None:
                self._access.flush()
            await trio.sleep(TICK)

    async def _accept(self) -> None:
        with self._acceptances:
            async with trio.open_nursery() as nursery:
                for acceptor in self._acceptors:
                    nursery.start_soon(acceptor.run)

    async def _signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                await self._channel.send(Leaving("SIGTERM"))

    async def _leave_when_enough(self) -> None:
        await self._enough.wait()
        self.leave("max-requests")

    # -- for the service ----------------------------------------------------------------------

    def seats(self, free: int) -> None:
        """As in ``Host``."""
        if self._admission.seated(free):
            self._receiver.room()
        if free:
            for acceptor in self._acceptors:
                acceptor.room()

    def leave(self, reason: str) -> None:
        """As in ``Host``."""
        if not self._asked_to_leave:
            self._asked_to_leave = True
            self._nursery.start_soon(self._channel.send, Leaving(reason, replace_first=True))

    def give_up(self) -> None:
        """As in ``Host``."""
        self.gave_up = True

    # -- the master's word --------------------------------------------------------------------

    async def _obey(self) -> None:
        """Do what the master says, and what must be done when it is gone."""
        async for request in self._channel.messages():
            if isinstance(request, Quit):
                if self._hooks is not None:
                    self._hooks.worker_int()
                self._deadline = trio.current_time()
                self._starting.cancel()
                self._done.set()
            elif isinstance(request, Reopen):
                if self._access is not None:
                    self._access.reopen()
            else:
                self._close_doors(last=request.closing)
                self._nursery.start_soon(
                    self._leave if request.leave else self._rest, request.seconds
                )
        self._starting.cancel()
        self._close_doors(last=True)
        await self._leave(self._config.graceful_timeout)

    def _close_doors(self, *, last: bool) -> None:
        """Accept no more by ourselves; ``last``: but who waits now is not for anybody else."""
        if last:
            for acceptor in self._acceptors:
                acceptor.take_last()
        self._acceptances.cancel()

    async def _drain(self, seconds: float) -> None:
        """Finish what there is, for so long."""
        self._admission.doors = Doors.CLOSED
        self._service.drain()
        await self._wait_idle(seconds)
        if self._admission.active and self._service.farewell():
            await self._wait_idle(FAREWELL)

    async def _wait_idle(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while self._admission.active:
                if self._idle.is_set():  # else somebody else waits for it already
                    self._idle = trio.Event()
                await self._idle.wait()

    async def _leave(self, seconds: float) -> None:
        self._deadline = min(self._deadline, trio.current_time() + seconds)
        await self._drain(seconds)
        self._done.set()

    async def _rest(self, seconds: float) -> None:
        await self._drain(seconds)
        await self._channel.send(Drained())
