"""The process itself: one loop over the master's socket and the children's pidfds.

No event loop runs here and no thread is ever started: what is forked must be clean.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import selectors
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol, final

from balancer import log
from balancer.core.messages import (
    Configure,
    Exited,
    ForkServerMessage,
    ForkServerRequest,
    Guard,
    PacketDecoder,
    PreloadFailed,
    Spawn,
    Spawned,
    SpawnFailed,
    Warm,
    encode_packet,
)
from balancer.errors import BalancerError, ExitCode
from balancer.net.packets import NoRoomError, recv_packet, send_packet

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.context import ForkProcess

    from balancer.core.messages import WorkerConfig

__all__ = ["WorkerEntry", "main"]


class WorkerEntry(Protocol):
    """The module that ``Configure.entry`` names."""

    def warm(self, config: WorkerConfig) -> None:
        """Import what every worker needs, before any fork."""

    def read_hooks(self, config: WorkerConfig) -> None:
        """Read the workers' hooks, if ``config.config`` is there, to be inherited; BalancerError
        when they can't be."""

    def preload(self, config: WorkerConfig) -> None:
        """Import the app, before any fork; BalancerError when it can't be."""

    def main(self, config: WorkerConfig, spawn: Spawn, fds: list[int]) -> int:
        """Be a worker, in the child; the exit code.  SIGTERM is ignored, and blocked: it waits."""


@final
@dataclass(slots=True, eq=False)
class _Child:
    """A process to watch; without ``process`` it is a dead fork server's, only guarded."""

    pidfd: int
    worker: int = 0
    process: ForkProcess | None = None


def main(fd: int, entry: str) -> NoReturn:
    """Serve the master on an inherited socket until it is gone and every worker too."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        # TERM too: a service manager may send it to every process, and somebody has to reap.
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=fd) as sock:
        sock.set_inheritable(False)
        importlib.import_module(entry)  # the same as will be configured: the master may be busy yet
        packet, _fds = recv_packet(sock)
        if packet:
            configure = PacketDecoder[ForkServerRequest](ForkServerRequest)(packet)
            assert isinstance(configure, Configure)
            ForkServer(sock, configure).run()
    # not sys.exit(): multiprocessing's exit handler would join children that are not ours to wait
    # for any more
    os._exit(ExitCode.OK)


@final
class ForkServer:
    """Owns the socket and the pidfds; forks and reaps."""

    def __init__(self, sock: socket.socket, configure: Configure) -> None:
        self._sock = sock
        self._configure = configure
        self._entry: WorkerEntry = importlib.import_module(configure.entry)
        self._decode = PacketDecoder[ForkServerRequest](ForkServerRequest)
        self._context = multiprocessing.get_context("fork")
        self._selector = selectors.EpollSelector()
        self._selector.register(sock, selectors.EVENT_READ)
        self._children: set[_Child] = set()
        self._everybodys: set[int] = set()  # what is open before the first fork
        self._deadline: float | None = None  # set once the master is gone

    def run(self) -> None:
        """Warm up, then serve until there is nobody to serve and nobody to guard."""
        log.configure(self._configure.config.log_level)
        self._entry.warm(self._configure.config)
        try:
            self._import()
        except BalancerError as error:
            self._tell(PreloadFailed(f"{error}\n{error.details}".rstrip()))
            return
        # What is there now is shared with every worker: a collection must not touch, and so copy,
        # its pages.
        gc.collect()
        gc.freeze()
        self._everybodys = _open_fds()
        self._tell(Warm())
        while self._deadline is None or (self._children and self._in_time()):
            for key, _events in self._selector.select(self._patience()):
                if key.fileobj is self._sock:
                    self._serve()
                else:
                    self._reap(key.data)
        for child in self._children:
            with suppress(ProcessLookupError):  # who was not ours to reap may be gone by now
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)

    def _import(self) -> None:
        """What all workers shall have."""
        config = self._configure.config
        if config.config is not None:
            self._entry.read_hooks(config)
        if self._configure.preload_app:
            self._entry.preload(config)

    def _patience(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _in_time(self) -> bool:
        return self._deadline is not None and time.monotonic() < self._deadline

    def _tell(self, message: ForkServerMessage, fds: list[int] | None = None) -> None:
        if self._deadline is None:
            send_packet(self._sock, encode_packet(message), fds)

    def _serve(self) -> None:
        try:
            packet, fds = recv_packet(self._sock)
        except NoRoomError as error:
            self._refuse(self._decode(error.packet), error)
            return
        if not packet:
            self._selector.unregister(self._sock)
            self._deadline = time.monotonic() + self._configure.graceful_timeout
            return
        request = self._decode(packet)
        if isinstance(request, Spawn):
            self._spawn(request, fds)
        elif isinstance(request, Guard):
            for fd in fds:
                self._watch(_Child(fd))

    def _refuse(self, request: ForkServerRequest, error: OSError) -> None:
        if isinstance(request, Spawn):
            self._tell(SpawnFailed(request.worker, f"the fork server has {error.strerror}"))

    def _spawn(self, spawn: Spawn, fds: list[int]) -> None:
        try:
            process = self._fork(spawn, fds)
        except OSError as error:  # EAGAIN, ENOMEM, EMFILE: no more processes or descriptors
            self._tell(SpawnFailed(spawn.worker, error.strerror or str(error)))
            return
        finally:
            _close_all(fds)
        try:
            self._introduce(spawn, process)
        except OSError as error:  # ENFILE, ENOMEM, ETOOMANYREFS
            # Nobody could watch it, and the master would take it for one that never was.
            process.kill()
            process.join()
            process.close()
            self._tell(SpawnFailed(spawn.worker, error.strerror or str(error)))

    def _fork(self, spawn: Spawn, fds: list[int]) -> ForkProcess:
        # pidfds, and two pipe ends that multiprocessing keeps for each child: a process that
        # holds another's would hide its death, and run out of descriptors among a thousand.
        others = _open_fds() - self._everybodys - set(fds)
        process = self._context.Process(
            target=self._become_worker,
            args=(spawn, fds, others),
            name=f"balancer-worker-{spawn.worker}",
        )
        # What comes before the worker's own handler would be lost to the SIG_IGN that it inherits.
        # A blocked signal waits, although it is ignored.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return process

    def _introduce(self, spawn: Spawn, process: ForkProcess) -> None:
        """Give the master the pidfd of a new worker, and watch it."""
        assert process.pid is not None
        pidfd = os.pidfd_open(process.pid)
        try:
            self._tell(Spawned(spawn.worker, process.pid), [pidfd])
        except OSError:
            os.close(pidfd)
            raise
        self._watch(_Child(pidfd, spawn.worker, process))

    def _become_worker(self, spawn: Spawn, fds: list[int], others: set[int]) -> None:
        """In the child: let go of what is the fork server's and others', then be a worker."""
        self._selector.close()
        self._sock.close()
        _close_all(others)
        raise SystemExit(self._entry.main(self._configure.config, spawn, fds))

    def _watch(self, child: _Child) -> None:
        self._children.add(child)
        self._selector.register(child.pidfd, selectors.EVENT_READ, child)

    def _reap(self, child: _Child) -> None:
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        self._children.remove(child)
        if child.process is not None:
            child.process.join()
            assert child.process.pid is not None
            assert child.process.exitcode is not None
            self._tell(Exited(child.worker, child.process.pid, child.process.exitcode))
            child.process.close()


def _open_fds() -> set[int]:
    # one of those listed is the listing itself, which is closed by now
    return {fd for fd in map(int, os.listdir("/dev/fd")) if _is_open(fd)}


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
