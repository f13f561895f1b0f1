"""The master process, from settings to exit code."""

from __future__ import annotations

import dataclasses
import logging
import os
import platform
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, final

import trio

from balancer import __version__, log
from balancer.core.policy import KERNEL_POLICIES
from balancer.errors import ExitCode
from balancer.master.configure import configure
from balancer.master.dispatcher import Dispatcher
from balancer.master.hooks import MasterHooks
from balancer.master.lineage import Lineage
from balancer.master.live import Live
from balancer.master.neighbours import Neighbours
from balancer.master.operations import Operations, Phase
from balancer.master.plan import Plan
from balancer.master.policies import find_policy
from balancer.master.ports import Ports
from balancer.master.reload import Reloader
from balancer.master.reloader import check_reload, watch_files
from balancer.master.rolling import Rolling
from balancer.master.servable import servable
from balancer.master.spawner import Spawner
from balancer.master.supervisor import Supervisor
from balancer.master.surroundings import Surroundings
from balancer.master.upgrader import Upgrader
from balancer.master.upstreams import Upstreams
from balancer.master.vitals import Watch
from balancer.net.sdnotify import Notifier
from balancer.net.slots import SlotTable
from balancer.net.systemd import adopt_passed, take_passed
from balancer.settings import TcpBind, parse_upstream
from balancer.settings.engine import unheard
from balancer.settings.served import pools, served

if TYPE_CHECKING:
    from typing import Self

    from balancer.core.messages import Configure
    from balancer.core.policy import Maker
    from balancer.hooks import Hooks
    from balancer.master.surroundings import Read
    from balancer.net.systemd import Passed
    from balancer.settings import Settings
    from balancer.settings.table import Service

__all__ = ["Master", "run"]

logger = logging.getLogger("balancer")

FAREWELL = 2.0
"""Seconds for the fork servers to leave when nobody is left to them."""


def run(
    settings: Settings,
    hooks: Hooks | None = None,
    plan: Plan | None = None,
    read: Read | None = None,
) -> int:
    """Serve until told to stop; the exit code.

    ``hooks`` are the master's; the workers find theirs by ``settings.config``.  ``read`` loads both
    again, for a reload; without it the settings stay.

    Raises:
        BalancerError: the server can't start, with the exit code for that.
    """
    log.configure(settings.log_level)
    with Lineage.of_this_process() as lineage:
        notifier = Notifier.from_environ(os.environ, os.getpid())
        passed = take_passed(os.environ, os.getpid())
        settings = adopt_passed(settings, passed)
        surroundings = Surroundings(None if read is None else partial(_read_again, read, passed))
        surroundings.settle_in(settings)
        with (
            lineage.pid_file(settings),
            Master(settings, plan or Plan(), hooks, surroundings, notifier, lineage) as master,
        ):
            trio.run(master.serve, strict_exception_groups=True)
    return ExitCode.OK


def _read_again(read: Read, passed: list[Passed]) -> tuple[Settings, Hooks | None]:
    settings, hooks = read()
    return adopt_passed(settings, passed), hooks


@final
class Master:
    """One server, from its listeners, which it owns, to the last of its workers.

    The command line and the library both run this; what differs is in the ``Plan``.  A context
    manager: what it owns goes at its end, whatever became of ``serve``.

    Raises:
        BalancerError: the server can't start.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        hooks: Hooks | None = None,
        surroundings: Surroundings | None = None,
        notifier: Notifier | None = None,
        lineage: Lineage | None = None,
    ) -> None:
        check_reload(settings)
        settings, queue = servable(settings)
        self.live = Live(settings, hooks)
        self._plan = plan
        self._surroundings = surroundings or Surroundings()
        self._lineage = lineage or Lineage()
        self._hooks = MasterHooks(self.live)
        with ExitStack() as stack:
            stack.callback(self._hooks.on_exit)
            self._hooks.on_starting()
            policy = find_policy(settings, last=plan.program is not None)
            self._upstreams = Upstreams(settings)  # before a port is bound for nothing
            stack.callback(self._upstreams.close)
            self.ports = Ports(settings, self._lineage.listeners(settings))
            stack.callback(self.ports.close_at_once)
            self.live.edition = dataclasses.replace(self.live.edition, lanes=self.ports.lanes)
            self.neighbours = Neighbours(settings, notifier or Notifier(), self._lineage)
            stack.callback(self.neighbours.close)
            self._table = SlotTable.create()
            stack.callback(self._close_table)
            self.dispatcher = self._make_dispatcher(policy, queue)
            stack.callback(self.dispatcher.shut_down)
            stack.callback(self.dispatcher.abandon)
            self._stack = stack.pop_all()
        self.supervisor: Supervisor
        self.operations: Operations

    @property
    def settings(self) -> Settings:
        """What is in force."""
        return self.live.settings

    def _make_dispatcher(self, policy: Maker, queue: int) -> Dispatcher:
        settings, exclusive = self.settings, self._plan.exclusive
        return Dispatcher(
            len(self.ports.lanes),
            policy=policy,
            window=settings.window,
            queue=queue,
            recall=settings.recall,
            exclusive=[lane for lane, bind in self.ports.lanes.items() if bind in exclusive],
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
        if failure := self.supervisor.failure or self._lineage.failure:
            raise failure
        logger.info("stopped")

    async def _serve(self, nursery: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        started_at = trio.current_time()
        settings, ports, dispatcher, plan = self.settings, self.ports, self.dispatcher, self._plan
        spawner = self._assemble(nursery)
        supervisor, operations, lineage = self.supervisor, self.operations, self._lineage
        upgrader = operations.upgrader = Upgrader(
            self.live, lineage, supervisor, dispatcher, ports, operations, nursery
        )
        watch = Watch(operations, supervisor, dispatcher, ports, self._upstreams, started_at)
        self.neighbours.start(watch, nursery, attended=plan.attended)
        workers = lineage.count(settings, ports, supervisor)
        if plan.attended:
            await nursery.start(operations.on_signals)
            self._greet(workers)
        self._hooks.nworkers_changed(workers, None)
        for _ in range(workers):
            supervisor.add_slot()
        lineage.open(supervisor, dispatcher, ports, operations, nursery)
        nursery.start_soon(dispatcher.run)
        nursery.start_soon(supervisor.watch_hearts)
        nursery.start_soon(self._upstreams.watch)
        nursery.start_soon(self._announce, started_at)
        if settings.reload:
            nursery.start_soon(watch_files, settings, operations.reload)
        if plan.control:
            await nursery.start(lineage.control, operations, settings, ports.addresses[0])
        task_status.started()
        await _end(supervisor, operations)
        await upgrader.finish()
        await spawner.close(FAREWELL)

    def _assemble(self, nursery: trio.Nursery) -> Spawner:
        """Who starts workers, who looks after them, and who is told to do something with them."""
        ports, dispatcher, hooks, upstreams = (
            self.ports, self.dispatcher, self._hooks, self._upstreams,
        )  # fmt: skip
        instance = os.urandom(4).hex()

        def describe(settings: Settings) -> Configure:
            return configure(settings, self._plan, upstreams.book, instance)

        spawner = Spawner(describe(self.settings), nursery)
        supervisor = self.supervisor = Supervisor(
            self.live, dispatcher, ports, self._table, spawner, nursery, hooks, self._plan,
            upstreams,
        )  # fmt: skip
        reloader = Reloader(
            self.live, self._surroundings, servable, describe, ports, dispatcher, upstreams
        )
        rolling = Rolling(self.live, reloader, supervisor, dispatcher, ports, spawner, hooks)
        self.operations = Operations(
            self.live, supervisor, dispatcher, ports, spawner, rolling, nursery, hooks, upstreams
        )
        dispatcher.on_reopened = self._reopened
        return spawner

    def _greet(self, workers: int) -> None:
        _greet(self.settings, self.ports, workers)
        for address in self.neighbours.addresses:
            logger.info("health checks are answered at %s", address)

    async def _announce(self, started_at: float) -> None:
        await self.supervisor.all_ready.wait()
        await self._lineage.begun()
        self.operations.tell_phase()
        seconds = trio.current_time() - started_at
        logger.info("ready: %s in %.2f s", _count(len(self.supervisor.slots)), seconds)
        self._hooks.when_ready()

    def _reopened(self, worker: int, lane: int) -> None:
        handle = self.supervisor.workers.get(worker)
        if handle is not None:
            self._plan.observer.reopened(handle, lane)


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


def _greet(settings: Settings, ports: Ports, workers: int) -> None:
    """The banner: what listens where, with how many workers, by which policy."""
    python = platform.python_version()
    logger.info("balancer %s, Python %s: %s", __version__, python, _hand_off(settings, workers))
    for address in ports.addresses:
        logger.info("listening on %s", address)
    for pool in pools(settings):
        _greet_pool(pool)
    if names := unheard(settings):
        logger.warning("--engine uvicorn has no such limit: %s", ", ".join(names))
    demo = any(
        each.settings.app is None for each in served(settings) if each not in pools(settings)
    )
    if demo and not all(map(_private, settings.bind)):
        logger.warning(
            "the demo app is reachable from other machines, and so is /crash, which kills workers"
        )


def _greet_pool(pool: Service) -> None:
    settings = pool.settings
    upstreams = [parse_upstream(text) for text in settings.upstreams]
    names = ", ".join([str(each) for each in upstreams])
    who = f"pool {pool.name}: " if pool.name else ""
    logger.info("%sin front of %s (%s)", who, names, settings.upstream_policy)
    if not settings.upstream_verify and any(each.scheme == "https" for each in upstreams):
        where = settings.where("upstream_verify")
        logger.warning("%s: nobody checks whom https:// upstreams are", where)


def _hand_off(settings: Settings, workers: int) -> str:
    """Who gets connections, by what rule."""
    who = f"{settings.policy} over {_count(workers)}"
    if settings.policy in KERNEL_POLICIES:  # nothing is handed over, and nothing recalled
        return who
    recall = "off" if settings.recall is None else f"{settings.recall:g} s"
    return f"{who}, window {settings.window}, recall {recall}"


def _count(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"


def _private(bind: object) -> bool:
    return not isinstance(bind, TcpBind) or bind.host in {"127.0.0.1", "localhost", "::1"}
