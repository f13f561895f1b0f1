"""The master process, from settings to exit code."""

from __future__ import annotations

import dataclasses
import logging
import os
import platform
import secrets
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, final

import trio

from balancer import __version__, log
from balancer.core.messages import Configure, WorkerConfig
from balancer.core.policy import KERNEL_POLICIES
from balancer.errors import ExitCode, UsageError
from balancer.master.budget import connections_limit, queue_limit, raise_limit, shortage
from balancer.master.control import serve_control
from balancer.master.dispatcher import Dispatcher
from balancer.master.hooks import MasterHooks
from balancer.master.operations import Operations, Phase
from balancer.master.pidfile import pid_file
from balancer.master.plan import Plan
from balancer.master.policies import find_policy
from balancer.master.ports import Ports
from balancer.master.reloader import check_reload, watch_files
from balancer.master.spawner import Spawner
from balancer.master.supervisor import Supervisor
from balancer.master.upstreams import Upstreams
from balancer.master.watcher import Watcher, watcher_config
from balancer.net.logfile import check_log_file
from balancer.net.slots import SlotTable
from balancer.settings import TcpBind, parse_upstream
from balancer.settings.engine import unheard

if TYPE_CHECKING:
    from typing import Self

    from balancer.core.policy import Maker
    from balancer.hooks import Hooks
    from balancer.settings import Settings

__all__ = ["Master", "run"]

logger = logging.getLogger("balancer")

WORKER_ENTRY = "balancer.worker.entry"
FAREWELL = 2.0
"""Seconds for the fork servers to leave when nobody is left to them."""


def run(settings: Settings, hooks: Hooks | None = None, plan: Plan | None = None) -> int:
    """Serve until told to stop; the exit code.

    ``hooks`` are the master's; the workers find theirs by ``settings.config``.

    Raises:
        BalancerError: the server can't start, with the exit code for that.
    """
    log.configure(settings.log_level)
    _settle_in(settings)
    with (
        pid_file(settings.pid, settings.where("pid")),
        Master(settings, plan or Plan(), hooks) as master,
    ):
        trio.run(master.serve, strict_exception_groups=True)
    return ExitCode.OK


@final
class Master:
    """One server, from its listeners, which it owns, to the last of its workers.

    The command line and the library both run this; what differs is in the ``Plan``.  A context
    manager: what it owns goes at its end, whatever became of ``serve``.

    Raises:
        BalancerError: the server can't start.
    """

    def __init__(self, settings: Settings, plan: Plan, hooks: Hooks | None = None) -> None:
        _check_identity(settings)
        check_reload(settings)
        limit = raise_limit()
        queue = queue_limit(settings, limit)
        if warning := shortage(settings, limit):
            logger.warning(warning)
        settings = dataclasses.replace(
            settings, worker_connections=connections_limit(settings, limit)
        )
        if settings.access_logfile is not None:
            check_log_file(settings.access_logfile, settings.where("access_logfile"))
        self.settings = settings
        self._plan = plan
        self._hooks = MasterHooks(settings, hooks)
        with ExitStack() as stack:
            stack.callback(self._hooks.on_exit)
            self._hooks.on_starting()
            policy = find_policy(settings, last=plan.program is not None)
            self._upstreams = self._make_upstreams(stack)  # before a port is bound for nothing
            self.ports = Ports(settings)
            stack.callback(self.ports.close_at_once)
            self._table = SlotTable.create()
            stack.callback(self._close_table)
            self.dispatcher = self._make_dispatcher(policy, queue)
            stack.callback(self.dispatcher.shut_down)
            stack.callback(self.dispatcher.abandon)
            self._stack = stack.pop_all()
        self.supervisor: Supervisor
        self.operations: Operations

    def _make_upstreams(self, stack: ExitStack) -> Upstreams | None:
        if not self.settings.upstreams:
            return None
        upstreams = Upstreams(self.settings)
        stack.callback(upstreams.close)
        return upstreams

    def _make_dispatcher(self, policy: Maker, queue: int) -> Dispatcher:
        settings, exclusive = self.settings, self._plan.exclusive
        return Dispatcher(
            len(self.ports.addresses),
            policy=policy,
            window=settings.window,
            queue=queue,
            recall=settings.recall,
            exclusive=[lane for lane, bind in enumerate(self.ports.binds) if bind in exclusive],
        )

    def _close_table(self) -> None:
        with suppress(BufferError):  # rows are in use: ``serve`` has crashed
            self._table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The master's tasks, until all workers have left; started when workers are on their way.

        Only ``operations.stop`` ends it: a cancellation from outside would leave workers behind.

        Raises:
            AppError, BootError: no worker will ever be ready.
        """
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                await self._serve(nursery, task_status)
                nursery.cancel_scope.cancel()
        if self.supervisor.failure is not None:
            raise self.supervisor.failure
        logger.info("stopped")

    async def _serve(self, nursery: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        started_at = trio.current_time()
        settings, ports, dispatcher, plan = self.settings, self.ports, self.dispatcher, self._plan
        spawner = Spawner(_configure(settings, plan), nursery)
        supervisor = self.supervisor = Supervisor(
            settings,
            dispatcher,
            ports,
            self._table,
            spawner,
            nursery,
            self._hooks,
            plan,
            self._upstreams,
        )
        operations = self.operations = Operations(
            settings,
            supervisor,
            dispatcher,
            ports,
            spawner,
            nursery,
            self._hooks,
            self._upstreams,
        )
        dispatcher.on_reopened = self._reopened
        if plan.attended:
            await nursery.start(operations.on_signals)
            _greet(settings, ports)
        self._hooks.nworkers_changed(settings.workers, None)
        for _ in range(settings.workers):
            supervisor.add_slot()
        ports.open(dispatcher)
        nursery.start_soon(dispatcher.run)
        nursery.start_soon(supervisor.watch_hearts)
        if self._upstreams is not None:
            nursery.start_soon(Watcher(watcher_config(settings), self._upstreams.table).run)
        nursery.start_soon(_announce, supervisor, operations, self._hooks, started_at)
        if settings.reload:
            nursery.start_soon(watch_files, settings, operations.reload)
        if plan.control:
            await nursery.start(_control, operations, settings, ports.addresses[0])
        task_status.started()
        await _end(supervisor, operations)
        await spawner.close(FAREWELL)

    def _reopened(self, worker: int, lane: int) -> None:
        handle = self.supervisor.workers.get(worker)
        if handle is not None:
            self._plan.observer.reopened(handle, lane)


def _check_identity(settings: Settings) -> None:
    if os.geteuid() == 0:
        return
    for name, own in (("user", os.geteuid()), ("group", os.getegid())):
        wanted = getattr(settings, name)
        if wanted not in {None, own}:
            where = settings.where(name)
            raise UsageError(f"{where} {wanted}: only root can start workers as somebody else")


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
    if not os.path.isdir(settings.app_dir):
        raise UsageError(f"{settings.where('app_dir')} {settings.app_dir}: no such folder")
    for variable in settings.raw_env:
        name, _, value = variable.partition("=")
        os.environ[name] = value


def _greet(settings: Settings, ports: Ports) -> None:
    """The banner: what listens where, with how many workers, by which policy."""
    python = platform.python_version()
    logger.info("balancer %s, Python %s: %s", __version__, python, _hand_off(settings))
    for address in ports.addresses:
        logger.info("listening on %s", address)
    if settings.upstreams:
        _greet_upstreams(settings)
    if names := unheard(settings):
        logger.warning("--engine uvicorn has no such limit: %s", ", ".join(names))
    if settings.app is None and not settings.upstreams and not all(map(_private, settings.bind)):
        logger.warning(
            "the demo app is reachable from other machines, and so is /crash, which kills workers"
        )


def _greet_upstreams(settings: Settings) -> None:
    upstreams = [parse_upstream(text) for text in settings.upstreams]
    names = ", ".join([str(each) for each in upstreams])
    logger.info("in front of %s (%s)", names, settings.upstream_policy)
    if not settings.upstream_verify and any(each.scheme == "https" for each in upstreams):
        where = settings.where("upstream_verify")
        logger.warning("%s: nobody checks whom https:// upstreams are", where)


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


def _configure(settings: Settings, plan: Plan) -> Configure:
    """What a fork server and its workers need of the settings, and of the plan."""
    shared = {
        name: getattr(settings, name)
        for name in WorkerConfig.__struct_fields__
        if name not in {"shared_accept", "master_pid", "servers", "program", "instance"}
    }
    config = WorkerConfig(
        shared_accept=settings.policy == "shared",
        master_pid=os.getpid(),
        instance=secrets.token_hex(4),
        servers=plan.servers,
        program=plan.program,
        **shared,
    )
    return Configure(config, WORKER_ENTRY, settings.graceful_timeout, settings.preload)
