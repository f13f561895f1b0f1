"""The master process, from settings to exit code."""

from __future__ import annotations

import logging
import os
import platform
from typing import TYPE_CHECKING

import trio

from balancer import __version__, log
from balancer.core.messages import Configure, WorkerConfig
from balancer.core.policy import KERNEL_POLICIES
from balancer.errors import ExitCode, UsageError
from balancer.master.budget import queue_limit, raise_limit
from balancer.master.control import serve_control
from balancer.master.dispatcher import Dispatcher
from balancer.master.hooks import MasterHooks
from balancer.master.operations import Operations, Phase
from balancer.master.pidfile import pid_file
from balancer.master.ports import Ports
from balancer.master.reloader import check_reload, watch_files
from balancer.master.spawner import Spawner
from balancer.master.supervisor import Supervisor
from balancer.net.logfile import check_log_file
from balancer.net.slots import SlotTable
from balancer.settings import TcpBind
from balancer.settings.engine import unheard

if TYPE_CHECKING:
    from balancer.hooks import Hooks
    from balancer.settings import Settings

__all__ = ["run"]

logger = logging.getLogger("balancer")

WORKER_ENTRY = "balancer.worker.entry"
FAREWELL = 2.0
"""Seconds for the fork servers to leave when nobody is left to them."""


def run(settings: Settings, hooks: Hooks | None = None) -> int:
    """Serve until told to stop; the exit code.

    ``hooks`` are the master's; the workers find theirs by ``settings.config``.

    Raises:
        BalancerError: the server can't start, with the exit code for that.
    """
    log.configure(settings.log_level)
    _settle_in(settings)
    check_reload(settings)
    queue = queue_limit(settings, raise_limit())
    if settings.access_logfile is not None:
        check_log_file(settings.access_logfile, settings.where("access_logfile"))
    with pid_file(settings.pid, settings.where("pid")):
        told = MasterHooks(settings, hooks)
        told.on_starting()
        try:
            ports = Ports(settings)
            try:
                return trio.run(serve, settings, ports, queue, told, strict_exception_groups=True)
            finally:
                ports.close_at_once()
        finally:
            told.on_exit()


async def serve(settings: Settings, ports: Ports, queue: int, hooks: MasterHooks) -> int:
    """The master's tasks, until all workers have left."""
    started_at = trio.current_time()
    dispatcher = Dispatcher(
        len(ports.addresses),
        policy=settings.policy,
        window=settings.window,
        queue=queue,
        recall=settings.recall,
    )
    table = SlotTable.create()
    async with trio.open_nursery() as nursery:
        spawner = Spawner(_configure(settings), nursery)
        supervisor = Supervisor(settings, dispatcher, ports, table, spawner, nursery, hooks)
        operations = Operations(settings, supervisor, dispatcher, ports, spawner, nursery, hooks)
        await nursery.start(operations.on_signals)
        _greet(settings, ports)
        hooks.nworkers_changed(settings.workers, None)
        for _ in range(settings.workers):
            supervisor.add_slot()
        ports.open(dispatcher)
        nursery.start_soon(dispatcher.run)
        nursery.start_soon(supervisor.watch_hearts)
        nursery.start_soon(_announce, supervisor, operations, hooks, started_at)
        if settings.reload:
            nursery.start_soon(watch_files, settings, operations.reload)
        await nursery.start(_control, operations, settings, ports.addresses[0])
        await _end(supervisor, operations)
        await spawner.close(FAREWELL)
        nursery.cancel_scope.cancel()
    if supervisor.failure is not None:
        raise supervisor.failure
    logger.info("stopped")
    return ExitCode.OK


async def _end(supervisor: Supervisor, operations: Operations) -> None:
    """Wait until the server has stopped, or can't start."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_give_up, supervisor, operations)
        await operations.stopped.wait()
        nursery.cancel_scope.cancel()


async def _give_up(supervisor: Supervisor, operations: Operations) -> None:
    await supervisor.failed.wait()
    if operations.phase is not Phase.STOPPING:
        await operations.stop(quick=True)


async def _control(
    operations: Operations,
    settings: Settings,
    address: str,
    *,
    task_status: trio.TaskStatus[str | None],
) -> None:
    # the name of the socket is the address without the scheme, as -b has it
    bound = address.removeprefix("http://")
    await serve_control(operations, settings, bound=bound, task_status=task_status)


async def _announce(
    supervisor: Supervisor, operations: Operations, hooks: MasterHooks, started_at: float
) -> None:
    await supervisor.all_ready.wait()
    if operations.phase is Phase.STARTING:
        operations.phase = Phase.RUNNING
    seconds = trio.current_time() - started_at
    logger.info("ready: %s in %.2f s", _count(len(supervisor.slots)), seconds)
    hooks.when_ready()


def _settle_in(settings: Settings) -> None:
    """What the workers inherit of the process: the folder and the environment."""
    try:
        os.chdir(settings.chdir)
    except OSError as error:
        raise UsageError(f"{settings.where('chdir')} {settings.chdir}: {error.strerror}") from None
    for variable in settings.raw_env:
        name, _, value = variable.partition("=")
        os.environ[name] = value


def _greet(settings: Settings, ports: Ports) -> None:
    """The banner: what listens where, with how many workers, by which policy."""
    python = platform.python_version()
    logger.info("balancer %s, Python %s: %s", __version__, python, _hand_off(settings))
    for address in ports.addresses:
        logger.info("listening on %s", address)
    if names := unheard(settings):
        logger.warning("--engine uvicorn has no such limit: %s", ", ".join(names))
    if settings.app is None and not all(map(_private, settings.bind)):
        logger.warning(
            "the demo app is reachable from other machines, and so is /crash, which kills workers"
        )


def _hand_off(settings: Settings) -> str:
    """Who gets connections, by what rule."""
    who = f"{settings.policy} over {_count(settings.workers)}"
    if settings.policy in KERNEL_POLICIES:  # nothing is handed over, and nothing recalled
        return who
    recall = "off" if settings.recall is None else f"{settings.recall:g} s"
    return f"{who}, window {settings.window}, recall {recall}"


def _count(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"


def _private(bind: object) -> bool:
    return not isinstance(bind, TcpBind) or bind.host in {"127.0.0.1", "localhost", "::1"}


def _configure(settings: Settings) -> Configure:
    """What a fork server and its workers need of the settings."""
    shared = {
        name: getattr(settings, name)
        for name in WorkerConfig.__struct_fields__
        if name not in {"shared_accept", "master_pid"}
    }
    config = WorkerConfig(
        shared_accept=settings.policy == "shared", master_pid=os.getpid(), **shared
    )
    return Configure(config, WORKER_ENTRY, settings.graceful_timeout, settings.preload)
