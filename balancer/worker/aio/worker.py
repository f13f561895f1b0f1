"""The worker's life on an asyncio loop; what it does, and when, is as in ``worker.worker``.

Three differences.  A ``TaskGroup`` can't be cancelled as a whole, so the worker keeps its tasks and
cancels them at its end.  Requests are tasks of uvicorn's, which the service cuts.  And a call of
the app may outlive its connection, so that the worker is idle when both have ended.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import random
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, final

from balancer.core.admission import Admission, Doors
from balancer.core.liveness import TICK
from balancer.core.messages import BootFailed, Drained, Leaving, Quit, Ready, Reopen
from balancer.errors import AppError, BalancerError, ExitCode
from balancer.worker.aio.channel import Channel
from balancer.worker.aio.receiver import KernelAcceptor, Receiver
from balancer.worker.intake import RequestLimit

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from balancer.apps.uvicorn import UvicornService
    from balancer.core.messages import WorkerConfig
    from balancer.http1.config import Stats
    from balancer.net.handoff import HandoffReceiver
    from balancer.net.slots import SlotWriter
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
        make_service: Callable[[Stats], UvicornService],
        pair: HandoffReceiver,
        control: socket.socket,
        slot: SlotWriter,
        families: tuple[int, ...],
        listeners: list[socket.socket],
        hooks: WorkerHooks | None = None,
    ) -> None:
        self._hooks = hooks
        self._config = config
        self._slot = slot
        limit: RequestLimit | None = None
        if config.max_requests:
            jitter = random.randint(0, config.max_requests_jitter)
            limit = RequestLimit(slot, config.max_requests + jitter, self._enough)
        self._service = make_service(limit or slot)
        self._admission = Admission(config.worker_connections)
        self._control = control
        self._receiver = Receiver(pair, self._admission, slot, families, self._service.serve)
        # From one listener for all, one at a time: a batch would starve the others.
        batch = 1 if config.shared_accept else 16
        self._acceptors = [
            KernelAcceptor(sock, self._admission, slot, self._service.serve, batch=batch)
            for sock in listeners
        ]
        self._deadline = math.inf  # of the drain
        self._unwanted = False
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
        self._loop = asyncio.get_running_loop()
        self._idle, self._done = asyncio.Event(), asyncio.Event()
        self._channel = await Channel.open(self._control)
        self._loop.add_signal_handler(signal.SIGTERM, self._on_term)
        async with asyncio.TaskGroup() as self._group:
            self._starting = self._loop.create_task(self._service.start(self))
            self.start_soon(self._obey)
            code = await self._start_app()
            if code is ExitCode.OK and not self._unwanted:
                await self._serve_all()
                await self._stop_app()
            for task in self._tasks:
                task.cancel()
        await self._channel.aclose()
        return code

    # -- the service's host -------------------------------------------------------------------

    def start_soon(self, task: Callable[[], Coroutine[Any, Any, Any]], /) -> None:
        """Run a task until its end, or the worker's."""
        running = self._group.create_task(task())
        self._tasks.add(running)
        running.add_done_callback(self._tasks.discard)

    def connection_ended(self) -> None:
        """As in ``Host``."""
        self._slot.closed()
        if self._admission.ended():
            self._receiver.room()
        for acceptor in self._acceptors:
            acceptor.room()
        if not self._admission.active:
            self._idle.set()

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
            self._channel.send(BootFailed(str(error), app=isinstance(error, AppError)))
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
        for acceptor in self._acceptors:
            acceptor.start()
        self._channel.send(Ready())
        # One that came while the worker started has been kept; after Ready, because the master
        # lets nobody go that has not been welcomed.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        await self._done.wait()
        self._receiver.stop()
        for acceptor in self._acceptors:
            acceptor.stop()
        self._heart.cancel()
        await self._service.cut()

    async def _stop_app(self) -> None:
        seconds = max(self._deadline - self._loop.time(), LAST_STOP)
        try:
            async with asyncio.timeout(seconds):
                await self._service.stop()
        except TimeoutError:
            logger.warning("the app didn't stop in time")

    def _beat(self) -> None:
        # by the loop's own clock: it stops when the loop is blocked
        self._slot.beat()
        self._service.tick()
        self._heart = self._loop.call_later(TICK, self._beat)

    # -- what it wants, and what it is told -----------------------------------------------------

    def _on_term(self) -> None:
        self._channel.send(Leaving("SIGTERM"))

    def _enough(self) -> None:
        self._channel.send(Leaving("max-requests", replace_first=True))

    async def _obey(self) -> None:
        """Do what the master says, and what must be done when it is gone."""
        async for request in self._channel.messages():
            if isinstance(request, Quit):
                self._deadline = self._loop.time()
                self._give_up_starting()
                self._done.set()
                continue
            if isinstance(request, Reopen):
                continue  # this engine writes no access log
            self._close_doors(last=request.closing)
            drain = self._leave if request.leave else self._rest
            self.start_soon(partial(drain, request.seconds, closing=request.closing))
        self._give_up_starting()
        self._close_doors(last=True)
        await self._leave(self._config.graceful_timeout, closing=True)

    def _give_up_starting(self) -> None:
        if not self._starting.done():
            self._unwanted = True
            self._starting.cancel()

    def _close_doors(self, *, last: bool) -> None:
        """Accept no more by ourselves; ``last``: but who waits now is not for anybody else."""
        for acceptor in self._acceptors:
            if last:
                acceptor.take_last()
            acceptor.stop()

    async def _drain(self, seconds: float, *, closing: bool) -> None:
        """Finish what there is, for so long."""
        self._admission.doors = Doors.CLOSED
        self._service.drain(closing=closing)
        await self._wait_idle(seconds)
        if self._busy and self._service.farewell():
            await self._wait_idle(FAREWELL)

    async def _wait_idle(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._busy:
                    if self._admission.active:
                        self._idle.clear()
                        await self._idle.wait()
                    else:
                        await asyncio.wait(list(self._service.calls))

    async def _leave(self, seconds: float, *, closing: bool) -> None:
        self._deadline = min(self._deadline, self._loop.time() + seconds)
        await self._drain(seconds, closing=closing)
        self._done.set()

    async def _rest(self, seconds: float, *, closing: bool) -> None:
        await self._drain(seconds, closing=closing)
        self._channel.send(Drained())
