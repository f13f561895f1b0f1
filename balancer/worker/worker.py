"""A worker on trio: serves what it receives, beats its heart, and obeys the master.

Two nurseries, one in the other: connections outside, everything that brings connections inside.  To
drain is to end the inner one and wait for the outer, up to a deadline.  What it is told, and what
that means, is ``shell``'s.
"""

from __future__ import annotations

import gc
import logging
import signal
from functools import partial
from typing import TYPE_CHECKING, final

import trio

from balancer.core.liveness import TICK
from balancer.core.messages import Leaving, Ready, WorkerMessage, WorkerRequest
from balancer.errors import BalancerError, ExitCode
from balancer.http1.inline import drive
from balancer.net.channel import Channel
from balancer.worker.group import ServiceGroup
from balancer.worker.receiver import KernelAcceptor, Receiver
from balancer.worker.shell import FAREWELL, Shell

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from balancer.apps.service import Host, Service
    from balancer.core.messages import Drain, WorkerConfig
    from balancer.http1.tally import Stats
    from balancer.net.handoff import HandoffReceiver
    from balancer.net.slots import SlotWriter
    from balancer.worker.accesslog import AccessLog
    from balancer.worker.current import CurrentWorker
    from balancer.worker.hooks import WorkerHooks

__all__ = ["Worker"]

logger = logging.getLogger("balancer")


@final
class Worker(Shell):
    """One worker's shell; owns every fd that it was born with."""

    _receiver: Receiver
    _acceptors: list[KernelAcceptor]
    _idle: trio.Event
    _done: trio.Event

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
        super().__init__(config, slot, hooks, access)
        self._service = make_service(self._stats, self)
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
        self.gave_up = False
        """Something of the app still runs, and nothing can stop it."""
        self._current = current
        if current is not None:
            current.attach(self._channel.send, self._receiver, frozenset(lanes))
        self._starting = trio.CancelScope()
        self._idle = trio.Event()
        self._done = trio.Event()
        self._begun = trio.Event()
        self._acceptances = trio.CancelScope()
        self._stay = trio.CancelScope()  # of a drain that didn't ask to leave
        self._nursery: trio.Nursery
        self._connections: trio.Nursery
        self._arrivals: trio.Nursery  # of what brings connections

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
            nursery.start_soon(self._listen)
            if self._current is not None:
                nursery.start_soon(self._current.read_mail)
            code = await self._start_app(nursery)
            if code is ExitCode.OK and not self._starting.cancelled_caught:
                await self._serve_all()
                with trio.move_on_after(self._time_to_stop()) as scope:
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
            await self._channel.send(self._failed(error))
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
                self._arrivals = nursery
                self._receiver.start(connections)
                self._nursery.start_soon(self._beat)  # also while the app stops
                nursery.start_soon(self._accept)
                await self._channel.send(Ready())
                # One that came while the worker started has been kept; after Ready, because the
                # master lets nobody go that has not been welcomed.
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
                await self._done.wait()
                nursery.cancel_scope.cancel()
                self._stop_accepting(for_good=True)
            connections.cancel_scope.cancel()

    def _start(self, lane: int, sock: socket.SocketType) -> None:
        self._connections.start_soon(drive, self._serve(sock, lane))

    async def _serve(self, sock: socket.SocketType, lane: int) -> None:
        try:
            await self._serves[lane](sock)
        finally:
            self._ended()

    async def _beat(self) -> None:
        while True:
            self._slot.beat()
            self._service.tick(trio.current_time())
            if self._access is not None:
                self._access.flush()
            await trio.sleep(TICK)

    async def _accept(self) -> None:
        with self._acceptances:
            if self.held:
                await self._begun.wait()
            async with trio.open_nursery() as nursery:
                for acceptor in self._acceptors:
                    nursery.start_soon(acceptor.run)

    async def _signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                await self._channel.send(Leaving("SIGTERM"))

    # -- for the service ----------------------------------------------------------------------

    def seats(self, free: int) -> None:
        """As in ``Host``."""
        if self._admission.seated(free):
            self._receiver.room()
        if free:
            for acceptor in self._acceptors:
                acceptor.room()

    def give_up(self) -> None:
        """As in ``Host``."""
        self.gave_up = True

    # -- the master's word --------------------------------------------------------------------

    async def _listen(self) -> None:
        """Do what the master says, and what must be done when it is gone."""
        async for request in self._channel.messages():
            self._obey(request)
        self._orphaned()

    def _now(self) -> float:
        return trio.current_time()

    def _say(self, message: WorkerMessage) -> None:
        self._nursery.start_soon(self._channel.send, message)

    def _give_up_starting(self) -> None:
        self._starting.cancel()

    def _start_accepting(self) -> None:
        self._begun.set()

    def _stop_accepting(self, *, for_good: bool) -> None:
        self._acceptances.cancel()
        if for_good:
            for acceptor in self._acceptors:
                acceptor.close()

    def _begin_drain(self, order: Drain) -> None:
        scope = trio.CancelScope()
        if not order.leave:
            self._stay.cancel()
            self._stay = scope
        self._service.drain()
        self._nursery.start_soon(self._finish, order, scope)

    def _end_drain(self) -> None:
        self._stay.cancel()
        self._service.resume()
        self._acceptances = trio.CancelScope()
        self._arrivals.start_soon(self._accept)

    async def _finish(self, order: Drain, scope: trio.CancelScope) -> None:
        with scope:
            await self._wait_idle(order.seconds)
            if self._admission.active and self._service.farewell():
                await self._wait_idle(FAREWELL)
            if not scope.cancel_called:
                self._drained(order)

    async def _wait_idle(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while self._admission.active:
                if self._idle.is_set():  # else somebody else waits for it already
                    self._idle = trio.Event()
                await self._idle.wait()
