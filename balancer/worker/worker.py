"""The worker's event loop: serves what it receives, beats its heart, and obeys the master.

Two nurseries, one in the other: connections outside, everything that brings connections inside.  To
drain is to end the inner one and wait for the outer, up to a deadline.

A worker never leaves on its own.  On SIGTERM, or when it has served ``max_requests``, it tells the
master that it wants to, and goes on until the master, who has recalled what was on its way, says
``Drain``.  EOF on the channel is the master's death: then it drains by itself.
"""

from __future__ import annotations

import logging
import random
import signal
import sys
from typing import TYPE_CHECKING, final

import trio

from balancer.core.admission import Admission, Doors
from balancer.core.liveness import TICK
from balancer.core.messages import Drained, Leaving, Quit, Ready, WorkerRequest
from balancer.http1.config import Http1Config
from balancer.http1.server import Http1Server
from balancer.net.channel import Channel
from balancer.worker.receiver import KernelAcceptor, Receiver

if TYPE_CHECKING:
    import socket

    from balancer.core.messages import WorkerConfig
    from balancer.http1.exchange import Handler
    from balancer.net.handoff import HandoffReceiver
    from balancer.net.slots import SlotWriter

__all__ = ["Worker"]

logger = logging.getLogger("balancer")


def engine_config(config: WorkerConfig) -> Http1Config:
    """The part of the settings that is the HTTP engine's."""
    return Http1Config(
        max_request_line=config.limit_request_line,
        max_head=config.limit_request_head,
        max_fields=config.limit_request_fields,
        max_body=config.limit_request_body,
        header_timeout=config.header_timeout,
        keep_alive=config.keep_alive,
        keep_alive_requests=config.keep_alive_requests or sys.maxsize,  # 0: any number
        body_timeout=config.body_timeout,
        send_timeout=config.send_timeout,
    )


@final
class RequestLimit:
    """Counts requests into the slot, and says once when there have been enough."""

    def __init__(self, slot: SlotWriter, limit: int) -> None:
        self._slot = slot
        self._left = limit
        self.reached = trio.Event()

    def request_done(self, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """As in ``Stats``."""
        self._slot.request_done(status, seconds, bytes_in, bytes_out)
        self._left -= 1
        if self._left == 0:
            self.reached.set()


@final
class Worker:
    """One worker's shell; owns every fd that it was born with."""

    def __init__(
        self,
        config: WorkerConfig,
        handler: Handler,
        pair: HandoffReceiver,
        control: socket.socket,
        slot: SlotWriter,
        families: tuple[int, ...],
        listeners: list[socket.socket],
    ) -> None:
        self._config = config
        self._slot = slot
        self._limit: RequestLimit | None = None
        if config.max_requests:
            jitter = random.randint(0, config.max_requests_jitter)
            self._limit = RequestLimit(slot, config.max_requests + jitter)
        self._server = Http1Server(handler, engine_config(config), self._limit or slot)
        self._admission = Admission(config.worker_connections)
        self._channel = Channel[WorkerRequest](control, WorkerRequest)
        self._receiver = Receiver(pair, self._admission, slot, families, self._serve)
        # From one listener for all, one at a time: a batch would starve the others.
        batch = 1 if config.shared_accept else 16
        self._acceptors = [
            KernelAcceptor(sock, self._admission, slot, self._start, batch=batch)
            for sock in listeners
        ]
        self._idle = trio.Event()
        self._done = trio.Event()
        self._connections: trio.Nursery

    async def run(self) -> None:
        """Serve until drained or told to quit."""
        async with trio.open_nursery() as connections:
            self._connections = connections
            async with trio.open_nursery() as nursery:
                self._receiver.start(connections)
                nursery.start_soon(self._beat)
                await nursery.start(self._signals)
                if self._limit is not None:
                    nursery.start_soon(self._leave_at, self._limit)
                acceptors = trio.CancelScope()
                nursery.start_soon(self._accept, acceptors)
                await self._channel.send(Ready())
                # One that came while the worker started has been kept; after Ready, because the
                # master lets nobody go that has not been welcomed.
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
                nursery.start_soon(self._obey, nursery, acceptors)
                await self._done.wait()
                nursery.cancel_scope.cancel()
            connections.cancel_scope.cancel()

    def _start(self, sock: socket.SocketType) -> None:
        self._connections.start_soon(self._serve, sock)

    async def _serve(self, sock: socket.SocketType) -> None:
        try:
            await self._server.serve(sock)
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
            self._server.tick(trio.current_time())
            await trio.sleep(TICK)

    async def _accept(self, scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                for acceptor in self._acceptors:
                    nursery.start_soon(acceptor.run)

    async def _signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                await self._channel.send(Leaving("SIGTERM"))

    async def _leave_at(self, limit: RequestLimit) -> None:
        await limit.reached.wait()
        await self._channel.send(Leaving("max-requests", replace_first=True))

    async def _obey(self, nursery: trio.Nursery, acceptors: trio.CancelScope) -> None:
        """Do what the master says, and what must be done when it is gone."""
        async for request in self._channel.messages():
            if isinstance(request, Quit):
                self._done.set()
            else:
                if request.closing:
                    self._take_last()
                acceptors.cancel()
                nursery.start_soon(self._leave if request.leave else self._rest, request.seconds)
        self._take_last()
        acceptors.cancel()
        await self._leave(self._config.graceful_timeout)

    def _take_last(self) -> None:
        for acceptor in self._acceptors:
            acceptor.take_last()

    async def _drain(self, seconds: float) -> None:
        """Finish what there is, for so long."""
        self._admission.doors = Doors.CLOSED
        self._server.drain()
        with trio.move_on_after(seconds):
            while self._admission.active:
                if self._idle.is_set():  # else somebody else waits for it already
                    self._idle = trio.Event()
                await self._idle.wait()

    async def _leave(self, seconds: float) -> None:
        await self._drain(seconds)
        self._done.set()

    async def _rest(self, seconds: float) -> None:
        await self._drain(seconds)
        await self._channel.send(Drained())
