"""A cluster for programs: the master as a context manager.

The master's tasks run in a nursery of ours around the program's block.  They can't be cancelled
from outside (workers would be left behind); they end when the last worker has.  So every way out of
the block leads through a stop: a graceful one when the block ends, a quick one when it raises or is
cancelled.  A server that can't start cancels the block and raises from the ``async with``.
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, final

import trio

from balancer.cluster.assemble import assemble, check_env
from balancer.cluster.events import Address
from balancer.cluster.roster import Roster
from balancer.core.books import ANYBODY
from balancer.errors import RunError, UsageError
from balancer.master.operations import MAX_WORKERS, Phase
from balancer.master.plan import Plan
from balancer.master.run import Master
from balancer.settings import Settings
from balancer.settings.calls import read_arguments
from balancer.settings.load import load
from balancer.worker.current import refuse_in_worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from balancer.cluster.assemble import Assembly
    from balancer.cluster.events import Event
    from balancer.cluster.hooks import HookFunctions
    from balancer.cluster.worker import Worker
    from balancer.core.control import Status
    from balancer.master.worker import WorkerHandle
    from balancer.net.feeds import Subscription

__all__ = ["Cluster", "open_cluster"]

OF_THE_PROCESS = ("pid", "chdir", "raw_env")
"""Settings that a program does for itself."""


@final
class Cluster:
    """A running server: its workers, and what happens to them."""

    def __init__(self, master: Master, roster: Roster) -> None:
        self._master = master
        self._roster = roster

    @property
    def settings(self) -> Settings:
        """What it was told; it can't be changed."""
        return self._master.settings

    @property
    def workers(self) -> Mapping[int, Worker]:
        """The workers by id, until they have exited, or were told to by ``worker.disconnect``."""
        return self._roster.workers

    @property
    def addresses(self) -> list[Address]:
        """Where it listens, with the real ports."""
        return list(self._roster.addresses)

    def status(self) -> Status:
        """What ``balancer status`` shows."""
        return self._master.operations.status()

    def events(self) -> Subscription[Event]:
        """What happens from now on: ``async for event in cluster.events()``.

        It ends when the cluster does.  Each call is a subscription of its own, and gets everything;
        the first also gets what happened before it.  Nothing is lost, and a slow reader holds up
        nobody but who sends messages: while 16 MiB of them are unread, no more are read, and
        workers wait in ``send``.  A loop that is left should close its subscription, or forget it.
        """
        return self._roster.feed.subscribe()

    async def ready(self) -> None:
        """Wait until every slot has had a worker that was ready."""
        supervisor = self._master.supervisor
        while waiting := [
            slot.current
            for slot in supervisor.slots
            if slot.current is not None and slot.current.ready_at is None
        ]:
            await waiting[0].booted.wait()
            if waiting[0].ready_at is None:  # it has died: whoever follows it is known then
                await waiting[0].dead.wait()
        if any(slot.kept and slot.vacant for slot in supervisor.slots):
            await supervisor.all_ready.wait()

    def fork(
        self, env: Mapping[str, str] | None = None, *, worker_connections: int | None = None
    ) -> Worker:
        """One worker more, in a slot of its own.

        ``env`` is set in its environment, and it may hold ``worker_connections``, where they are
        given.  With ``respawn`` the same goes for whoever follows it in the slot.

        Raises:
            UsageError: these can't be environment variables, or a number of connections.
            RunError: the cluster is disconnected, or there is no room for another worker.
        """
        master = self._master
        variables = check_env(env)
        limit = 0
        if worker_connections is not None:
            own = load(read_arguments({"worker_connections": worker_connections}))
            limit = own.worker_connections
        if master.operations.phase is Phase.STOPPING:
            raise RunError("fork: the cluster is disconnected")
        if len(master.supervisor.slots) >= MAX_WORKERS:
            raise RunError(f"fork: there can be {MAX_WORKERS} workers")
        slot = master.supervisor.add_slot(variables, limit)
        if slot.current is None:
            master.supervisor.retire_slot(slot)
            raise RunError("fork: no file descriptors left for another worker")
        return self._roster.worker(slot.current.id)

    async def reload(self) -> None:
        """Begin to replace the workers one by one, each new one ready before the old one drains."""
        await self._master.operations.reload()

    async def disconnect(self) -> None:
        """Stop: close the listeners, let the workers finish, return when the last one is gone.

        Connections that were accepted are served; who isn't done after ``graceful_timeout`` is
        killed.  The cluster is over then.  May be called by several tasks, and again.
        """
        operations = self._master.operations
        if operations.phase is not Phase.STOPPING:
            await operations.stop(quick=False)
        await operations.stopped.wait()

    async def close_at_once(self) -> None:
        """End all workers, now; when they are being disconnected, kill them."""
        operations = self._master.operations
        if not operations.stopped.is_set():
            await operations.stop(quick=True)


def open_cluster(
    *apps: object,
    respawn: bool | None = None,
    silent: bool = False,
    env: Mapping[str, str] | None = None,
    hooks: HookFunctions | None = None,
    **settings: object,
) -> AbstractAsyncContextManager[Cluster]:
    """Serve an app, or several ``Server`` objects, in worker processes while the block runs.

    ::

        async with balancer.open_cluster("main:app", workers=4, bind="127.0.0.1:8000") as cluster:
            async for event in cluster.events():
                print(event)

    When the block begins the listeners are bound and the workers on their way: connections wait for
    them.  When it ends, they finish what they have; when it raises or is cancelled, they are ended.
    No signal is handled and nothing is read from the environment.  The limit of open files is
    raised to what it may be, as Node does.

    Args:
        apps: An import string, or a function, class or instance that is an attribute of a module.
            None: the demo.
        respawn: Whether a worker that dies is replaced; False with ``workers=0``, else True.
            Without it a slot goes with its worker, and only ``fork`` makes another.
        silent: Workers' output goes to ``worker.stdout`` and ``worker.stderr``, not to this one's.
        env: Set in the environment of every worker.
        hooks: Functions by the names of ``balancer.hooks``: ``{"post_fork": connect}``.  Those
            that run in workers are imported there, as the app is, each time that one is started;
            the others are called here, between two steps of the loop, and must not take long.
            They go before a file's.
        settings: As on the command line: ``workers`` (which may be 0 here), ``bind``, ``policy``…;
            ``config`` names a file of settings, and of hooks.

    Raises:
        UsageError: an argument makes no sense.
        RunError: an address can't be bound.
        AppError, BootError: no worker will ever be ready (only with ``respawn``).
        InWorkerError: this is a worker.
    """
    refuse_in_worker("balancer.open_cluster()")
    caller = sys._getframe(1).f_globals.get("__name__")
    assembly = assemble(apps, settings, caller=caller, env={}, hooks=hooks)
    for name in OF_THE_PROCESS:
        if getattr(assembly.settings, name) != getattr(Settings(), name):
            where = assembly.settings.where(name)
            raise UsageError(f"{where}: is about the whole process, and only for balancer.run()")
    if respawn is None:
        respawn = assembly.settings.workers > 0
    return _open(assembly, respawn, silent, check_env(env))


@asynccontextmanager
async def _open(
    assembly: Assembly, respawn: bool, silent: bool, env: dict[str, str]
) -> AsyncIterator[Cluster]:
    settings, roster = assembly.settings, Roster()
    plan = Plan(
        attended=False,
        control=settings.control is not None or settings.name is not None,
        respawn=respawn,
        mailbox=True,
        silent=silent,
        env=env,
        exclusive=assembly.exclusive,
        program=assembly.program,
        observer=roster,
    )
    with _bare(), Master(settings, plan, assembly.hooks) as master:
        roster.addresses = [_address(name) for name in master.ports.names]
        roster.owner = lambda lane: _owner(master, lane)
        roster.leave = lambda handle: _leave(master, handle)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(_serve, master, roster)
                cluster = Cluster(master, roster)
                try:
                    yield cluster
                    await cluster.disconnect()
                finally:
                    await cluster.close_at_once()
        finally:
            with trio.CancelScope(shield=True):
                await roster.close()


async def _serve(master: Master, roster: Roster, *, task_status: trio.TaskStatus[None]) -> None:
    """Serve; when that is over, nothing more happens."""
    try:
        await master.serve(task_status=task_status)
    finally:
        roster.feed.close()


def _owner(master: Master, lane: int) -> int:
    """Whose a lane is; nobody gets one any more when all are about to leave."""
    owner = master.dispatcher.lane(lane).owner
    return owner if owner == ANYBODY or not master.supervisor.stopping else 0


def _leave(master: Master, handle: WorkerHandle) -> None:
    """Drain a worker, and its slot with it; who is being replaced leaves the slot to the other."""
    supervisor = master.supervisor
    seconds = master.settings.drain_timeout
    for slot in supervisor.slots:
        if slot.current is handle and slot.successor is None:
            supervisor.retire_slot(slot, seconds)
            return
    if handle.id in supervisor.workers:
        supervisor.drain(handle, seconds)


def _address(name: object) -> Address:
    if isinstance(name, tuple):
        return Address(str(name[0]), int(name[1]))
    return Address(path=name.decode() if isinstance(name, bytes) else str(name))


@contextmanager
def _bare() -> Iterator[None]:
    """An error of the block, or of the master, without the group that our nursery puts around."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        error = group.exceptions[0]
        raise error from error.__cause__
