"""Workers by way of a fork server: there is always one alive, or about to be.

A fork server's death is not its workers' death: they go on, their exit codes are lost (nobody but
a parent can read them), and the next fork server gets their pidfds to guard.  A reload starts a new
one, so that the code is read again, and tries it out while the old one goes on; which is kept until
its last worker is gone.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
from typing import TYPE_CHECKING, final

import trio

from balancer.core.messages import (
    Exited,
    PreloadFailed,
    ProtocolError,
    Spawn,
    Spawned,
    SpawnFailed,
    Warm,
)
from balancer.errors import AppError, BootError
from balancer.forkserver.client import ForkServer
from balancer.net.packets import MAX_FDS

if TYPE_CHECKING:
    from balancer.core.messages import Configure, ForkServerMessage
    from balancer.master.worker import WorkerHandle

__all__ = ["Spawner"]

logger = logging.getLogger("balancer")


@final
class _Server:
    """A fork server and what depends on it."""

    def __init__(self, link: ForkServer) -> None:
        self.link = link
        self.workers: dict[int, WorkerHandle] = {}  # neither reaped nor lost
        self.guards: set[int] = set()  # workers of dead fork servers, by id
        self.retired = False
        self.warm = trio.Event()  # or failed, or dead
        self.failure: str | None = None

    def find(self, worker_id: int) -> WorkerHandle:
        """The worker that it speaks of; ProtocolError when that is not one of its own."""
        try:
            return self.workers[worker_id]
        except KeyError:
            raise ProtocolError(f"worker {worker_id} is none of its own") from None


@final
class Spawner:
    """Starts workers; owns the fork servers.  Its tasks run in the nursery that it is given."""

    def __init__(self, configure: Configure, nursery: trio.Nursery) -> None:
        self._configure = configure
        self._nursery = nursery
        self._servers: list[_Server] = []  # the last one is current, the others are retired
        self._trial: tuple[_Server, Configure] | None = None  # about to be current, perhaps
        self._unreaped: set[_Server] = set()  # also those that are let go, or not yet warm
        self._orphans: dict[int, WorkerHandle] = {}  # of dead fork servers, to be guarded
        self._starting = trio.Lock()
        self._closing = False

    @property
    def pid(self) -> int | None:
        """The current fork server's pid, None when there is none."""
        return self._servers[-1].link.pid if self._servers else None

    async def spawn(self, worker: WorkerHandle, request: Spawn, fds: list[int]) -> bool:
        """Fork a worker; False, with a reason in the log, when that failed.

        Raises:
            AppError: ``--preload`` and the app can't be imported.
            OSError: the fork server can't be started, or asked.
        """
        server = await self._current() if not worker.on_trial else self._on_trial()
        server.workers[worker.id] = worker
        try:
            if not await server.link.spawn(request, fds):
                self._lost(server, worker)
        except OSError:  # ETOOMANYREFS, ENOBUFS: it was never asked
            self._lost(server, worker)
            if server.retired:
                self._dismiss(server)
            raise
        await worker.forked.wait()
        if server.failure is not None:
            raise AppError(server.failure)
        return worker.pid is not None

    async def renew(self, seconds: float) -> None:
        """Start a new fork server, to be used from now on; the old one stays if that fails.

        Raises:
            AppError, BootError: as ``try_out``.
        """
        await self.try_out(self._configure, seconds)
        self.adopt()

    async def try_out(self, configure: Configure, seconds: float) -> None:
        """Start a new fork server, for workers on trial, until it is adopted or rejected.

        Raises:
            AppError, BootError: it isn't warm within ``seconds``, dies, or can't preload the app.
        """
        try:
            server = await self._open(configure)
        except OSError as error:
            raise BootError(f"no fork server can be started: {error.strerror}") from error
        # Until it is warm, the current one goes on: a worker that dies is replaced at once.
        with trio.move_on_after(seconds):
            await server.warm.wait()
        if server.failure is None and server.warm.is_set() and server.link.alive:
            self._trial = server, configure
            return
        died = server.warm.is_set()
        server.retired = True
        if not died:  # an import that hangs doesn't notice that the line is closed
            server.link.kill()
        server.link.close()
        if server.failure is not None:
            raise AppError(server.failure)
        if died:
            raise BootError(f"the new fork server {await _fate(server)}")
        raise BootError(f"the new fork server wasn't ready within {seconds:g} s")

    def adopt(self) -> None:
        """The fork server on trial is the one to use from now on."""
        assert self._trial is not None
        old_ones = list(self._servers)
        server, self._configure = self._trial
        self._trial = None
        if server.link.alive:  # else the next spawn starts another one
            self._servers.append(server)
        for old in old_ones:
            old.retired = True
            self._dismiss(old)

    def reject(self) -> None:
        """The fork server on trial, if there is one, goes when its workers are gone."""
        if self._trial is not None:
            server, _ = self._trial
            self._trial = None
            server.retired = True
            self._dismiss(server)

    def _on_trial(self) -> _Server:
        if self._trial is None or not self._trial[0].link.alive:
            raise BrokenPipeError(errno.EPIPE, "the new fork server has died")
        return self._trial[0]

    def give_up(self, worker: WorkerHandle) -> None:
        """A worker wasn't forked in time: its fork server hangs, and makes way for another one."""
        for server in self._unreaped:
            if worker.id in server.workers and worker.pid is None:
                logger.error("the fork server (pid %d) hangs and is killed", server.link.pid)
                server.link.kill()

    async def close(self, seconds: float) -> None:
        """Let all fork servers leave; who hasn't after ``seconds`` is killed."""
        self._closing = True
        with trio.move_on_after(seconds):
            async with self._starting:  # who is just being started has to leave, too
                pass
        servers = list(self._unreaped)
        for server in servers:
            server.link.close()
        with trio.move_on_after(seconds) as scope:
            for server in servers:
                await server.link.wait()
        if scope.cancelled_caught:
            for server in servers:
                server.link.kill()

    async def _current(self) -> _Server:
        async with self._starting:
            server = self._servers[-1] if self._servers else None
            # A retired one is the last when the one after it has died: it has the code of before.
            if server is None or server.retired or not server.link.alive:
                server = await self._open(self._configure)
                self._servers.append(server)
            await self._guard(server)
            return server

    async def _open(self, configure: Configure) -> _Server:
        server = _Server(await ForkServer.start(configure))
        self._unreaped.add(server)
        self._nursery.start_soon(self._listen, server)
        return server

    async def _guard(self, server: _Server) -> None:
        """Give a fork server the orphans that it doesn't know yet; the next call tries again."""
        unknown = [each for each in self._orphans.values() if each.id not in server.guards]
        for start in range(0, len(unknown), MAX_FDS):
            some = [each for each in unknown[start : start + MAX_FDS] if each.pidfd >= 0]
            ids = {each.id for each in some}
            # Before they are sent: if it is retired meanwhile, it has to stay for them.
            server.guards |= ids
            try:
                await _send_guards(server, some)
            except BaseException as error:
                server.guards -= ids
                if not isinstance(error, OSError):
                    raise
                logger.error(
                    "the fork server (pid %d) can't be told to guard %d worker(s) (%s): one that "
                    "hangs would outlive the master until it can",
                    server.link.pid,
                    len(unknown) - start,
                    error.strerror,
                )
                return

    async def _listen(self, server: _Server) -> None:
        try:
            async for message, fds in server.link.messages():
                self._hear(server, message, fds)
                if server.retired:
                    self._dismiss(server)
        except ProtocolError as error:  # an app that wrote to it while it was preloaded
            logger.error(
                "the fork server (pid %d) said what is no message (%s) and is killed",
                server.link.pid,
                error,
            )
            server.link.kill()
            server.link.close()
        server.warm.set()
        if server in self._servers:
            self._servers.remove(server)
            if not self._closing and (server.workers or not server.retired):
                await _fate(server)
                await self._died(server)
        else:  # on trial, or rejected
            for worker in list(server.workers.values()):
                self._lost(server, worker)
        await server.link.wait()
        server.link.close()
        self._unreaped.discard(server)

    def _hear(self, server: _Server, message: ForkServerMessage, fds: list[int]) -> None:
        if isinstance(message, Warm):
            server.warm.set()
        elif isinstance(message, PreloadFailed):
            server.failure = message.text
        elif isinstance(message, Spawned):
            try:
                worker = server.find(message.worker)
            except ProtocolError:
                for fd in fds:
                    os.close(fd)
                raise
            self._born(worker, message.pid, fds)
        elif isinstance(message, SpawnFailed):
            worker = server.find(message.worker)
            del server.workers[worker.id]
            logger.error("worker %d can't be forked: %s", worker.id, message.text)
            worker.fork_failed()
        elif isinstance(message, Exited):
            worker = server.find(message.worker)
            del server.workers[worker.id]
            worker.exit_code = message.code
            worker.reaped.set()

    def _born(self, worker: WorkerHandle, pid: int, fds: list[int]) -> None:
        if fds:
            worker.fork_succeeded(pid, fds[0])
        else:  # it reads EOF when the handle is closed, and leaves
            logger.error("worker %d can't be watched: no file descriptors left", worker.id)
            worker.fork_failed()

    async def _died(self, server: _Server) -> None:
        """A fork server is gone that should not be."""
        if server.failure is None:
            logger.error(
                "the fork server (pid %d) died; its %d worker(s) go on without it",
                server.link.pid,
                len(server.workers),
            )
        for worker in list(server.workers.values()):
            self._lost(server, worker)
        if self._orphans:
            try:
                await self._current()
            except OSError as error:
                logger.error(
                    "no fork server can be started (%s): a worker that hangs would outlive the "
                    "master until there is one",
                    error.strerror,
                )

    def _lost(self, server: _Server, worker: WorkerHandle) -> None:
        """Nobody will tell what became of a worker of this fork server."""
        server.workers.pop(worker.id, None)
        if worker.pid is None:
            worker.fork_failed()
        else:
            worker.reaped.set()
            if worker.pidfd >= 0:  # not buried yet
                self._orphans[worker.id] = worker

    def forget(self, worker: WorkerHandle) -> None:
        """A worker is dead: nobody has to guard it."""
        if self._orphans.pop(worker.id, None) is not None:
            for server in self._servers:
                if server.retired:
                    self._dismiss(server)

    def _dismiss(self, server: _Server) -> None:
        """Let a retired fork server go once all are dead whom it would take along."""
        if not server.workers and not server.guards & self._orphans.keys():
            server.link.close()


async def _fate(server: _Server) -> str:
    """Reap a fork server that has hung up; what became of it, as a person would say it."""
    with trio.move_on_after(1):
        code = await server.link.wait()
        if code >= 0:
            return f"exited with {code}"
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:  # a real-time signal
            return f"was killed by signal {-code}"
    return "hung up"


async def _send_guards(server: _Server, workers: list[WorkerHandle]) -> None:
    # Copies: one may die, and its own pidfd be closed, while the message waits for its turn.
    pidfds: list[int] = []
    try:
        pidfds.extend(os.dup(worker.pidfd) for worker in workers)
        await server.link.guard(pidfds)
    finally:
        for fd in pidfds:
            os.close(fd)
