"""A worker on an asyncio loop; what it is told, and what that means, is ``shell``'s.

Three differences to the one on trio.  A ``TaskGroup`` can't be cancelled as a whole, so the worker
keeps its tasks and cancels them at its end.  Requests are tasks of uvicorn's, which the service
cuts.  And a call of the app may outlive its connection, so that the worker is idle when both have
ended.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, final

from balancer.core.liveness import TICK
from balancer.core.messages import Leaving, Ready
from balancer.errors import BalancerError, ExitCode
from balancer.worker.aio.channel import Channel
from balancer.worker.aio.receiver import KernelAcceptor, Receiver
from balancer.worker.shell import FAREWELL, Shell

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from balancer.apps.uvicorn import UvicornService
    from balancer.core.messages import Drain, WorkerConfig, WorkerMessage
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
    _idle: asyncio.Event
    _done: asyncio.Event

    def __init__(
        self,
        config: WorkerConfig,
        make_service: Callable[[Stats], UvicornService],
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
        self._service = make_service(self._stats)
        self._current = current
        self._by_kernel = frozenset(inherited)
        self._control = control
        self._receiver = Receiver(pair, self._admission, slot, families, self._service.serve)
        # From one listener for all, one at a time: a batch would starve the others.
        batch = 1 if config.shared_accept else 16
        self._acceptors = [
            KernelAcceptor(sock, self._admission, slot, self._service.serve, batch=batch)
            for sock in listeners
        ]
        self._unwanted = False
        self._stay: asyncio.Task[Any] | None = None  # a drain that didn't ask to leave
        self._serving = False
        self._loop: asyncio.AbstractEventLoop
        self._channel: Channel
        self._group: asyncio.TaskGroup
        self._tasks: set[asyncio.Task[Any]] = set()
        self._starting: asyncio.Task[None]
        self._heart: asyncio.TimerHandle
        self._idle: asyncio.Event
        self._done: asyncio.Event

    async def run(self) -> ExitCode:
        """Start the app, serve until drained or told to quit, stop the app; the exit code."""
        try:
            return await self._run()
        finally:
            if self._access is not None:
                self._access.close()

    async def _run(self) -> ExitCode:
        self._loop = asyncio.get_running_loop()
        self._idle, self._done = asyncio.Event(), asyncio.Event()
        self._channel = await Channel.open(self._control)
        if self._current is not None:
            self._current.attach(self._channel.send, self._receiver, self._by_kernel)
        self._loop.add_signal_handler(signal.SIGTERM, self._say, Leaving("SIGTERM"))
        async with asyncio.TaskGroup() as self._group:
            self._starting = self._loop.create_task(self._service.start(self))
            self.start_soon(self._listen)
            code = await self._start_app()
            if code is ExitCode.OK and not self._unwanted:
                await self._serve_all()
                await self._stop_app()
                self._heart.cancel()
            for task in self._tasks:
                task.cancel()
        await self._channel.aclose()
        return code

    # -- the service's host -------------------------------------------------------------------

    def start_soon(self, task: Callable[[], Coroutine[Any, Any, Any]], /) -> asyncio.Task[Any]:
        """Run a task until its end, or the worker's."""
        running = self._group.create_task(task())
        self._tasks.add(running)
        running.add_done_callback(self._tasks.discard)
        return running

    def connection_ended(self) -> None:
        """As in ``Host``."""
        self._ended()

    @property
    def _busy(self) -> bool:
        return self._admission.active > 0 or bool(self._service.calls)

    # -- the stages ---------------------------------------------------------------------------

    async def _start_app(self) -> ExitCode:
        try:
            await self._starting
            if self._hooks is not None:
                self._hooks.post_worker_init()
        except BalancerError as error:
            self._channel.send(self._failed(error))
            return error.exit_code
        except asyncio.CancelledError:
            if not self._unwanted:  # by the master
                raise
        return ExitCode.OK

    async def _serve_all(self) -> None:
        # What the app has built by now stays: no collection has to look at it again.
        gc.collect()
        gc.freeze()
        self._receiver.start()
        self._beat()
        self._serving = True
        if not self.held:
            self._start_accepting()
        self._channel.send(Ready())
        # One that came while the worker started has been kept; after Ready, because the master
        # lets nobody go that has not been welcomed.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        await self._done.wait()
        self._receiver.stop()
        for acceptor in self._acceptors:
            acceptor.stop()
        await self._service.cut()

    async def _stop_app(self) -> None:
        try:
            async with asyncio.timeout(self._time_to_stop()):
                await self._service.stop()
        except TimeoutError:
            logger.warning("the app didn't stop in time")

    def _beat(self) -> None:
        # by the loop's own clock: it stops when the loop is blocked
        self._slot.beat()
        self._service.tick()
        if self._access is not None:
            self._access.flush()
        self._heart = self._loop.call_later(TICK, self._beat)

    # -- the master's word --------------------------------------------------------------------

    async def _listen(self) -> None:
        """Do what the master says, and what must be done when it is gone."""
        async for request in self._channel.messages():
            self._obey(request)
        self._orphaned()

    def _now(self) -> float:
        return self._loop.time()

    def _say(self, message: WorkerMessage) -> None:
        self._channel.send(message)

    def _give_up_starting(self) -> None:
        if not self._starting.done():
            self._unwanted = True
            self._starting.cancel()

    def _start_accepting(self) -> None:
        if self._serving:
            for acceptor in self._acceptors:
                acceptor.start()

    def _stop_accepting(self, *, for_good: bool) -> None:
        for acceptor in self._acceptors:
            if for_good:
                acceptor.stop()
            else:
                acceptor.pause()

    def _begin_drain(self, order: Drain) -> None:
        self._service.drain(closing=order.closing)
        task = self.start_soon(partial(self._finish, order))
        if not order.leave:
            self._stay = task

    def _end_drain(self) -> None:
        if self._stay is not None:
            self._stay.cancel()
        self._service.resume()
        for acceptor in self._acceptors:
            acceptor.start()

    async def _finish(self, order: Drain) -> None:
        await self._wait_idle(order.seconds)
        if self._busy and self._service.farewell():
            await self._wait_idle(FAREWELL)
        self._drained(order)

    async def _wait_idle(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._busy:
                    if self._admission.active:
                        self._idle.clear()
                        await self._idle.wait()
                    else:
                        await asyncio.wait(list(self._service.calls))
