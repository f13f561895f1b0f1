"""Keeps the watcher of the upstreams running (``balancer.upstream.watcher``).

It is beside the master, so that no probe and no name server is ever waited for by who accepts
connections.  When it dies, the table says what it said, the next one goes on from there, and the
time until then is the respawn's (``core.respawn``).  When it hangs, which its beat in the table
shows, it is killed.

It places and removes rows of the table.  Who wants to do that in its stead relieves it, and the
next one goes on by what is in the table then.
"""

from __future__ import annotations

import logging
import random
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from typing import TYPE_CHECKING, final

import trio

from balancer.core.respawn import Respawn
from balancer.settings.probe import OFF
from balancer.upstream.placement import has_name
from balancer.upstream.watcher.config import PoolConfig, WatcherConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from balancer.master.pools import Book, Pool
    from balancer.net.endpoints import EndpointTable
    from balancer.settings import Settings

__all__ = ["Watcher", "watcher_config"]

logger = logging.getLogger("balancer")

FAREWELL = 1.0
"""Seconds to leave in at the stop; it has nothing to finish."""
LOOK = 5.0
"""Seconds between two looks at its beat."""
LOOKS = 4
"""As many of them without a beat, and it is killed.  They are counted, not timed: a machine that
was suspended looks once, and finds it as it was."""


OF_POOL = {field.name for field in fields(PoolConfig)} - {"name", "numbers"}


def watcher_config(settings: Settings, book: Book) -> WatcherConfig:
    """What a watcher of these pools is told; ``settings`` are those of the whole server."""
    return WatcherConfig(
        pools=tuple(map(_pool_config, book.pools)),
        log_level=settings.log_level,
        user=settings.user,
        group=settings.group,
    )


def _pool_config(pool: Pool) -> PoolConfig:
    copied = {name: getattr(pool.settings, name) for name in OF_POOL}
    return PoolConfig(name=pool.name, numbers=tuple(pool.upstreams), **copied)


@final
class Watcher:
    """The watcher's process, and the next one when that is gone.

    Attributes:
        config: What each of them is told; to be changed while the watcher is relieved.
        table: The table, which must stay open for as long as ``run`` runs; likewise.
        pid: The process, while there is one.
    """

    def __init__(
        self, config: WatcherConfig | None = None, table: EndpointTable | None = None
    ) -> None:
        self.config = WatcherConfig() if config is None else config
        self.table = table
        self.pid: int | None = None
        self._respawn = Respawn()
        self._duty = trio.Lock()  # whose it is to change rows
        self._shift = trio.CancelScope()
        self._reliefs = 0

    async def run(self) -> None:
        """Until cancelled, when the process goes, too; with nothing to watch there is none."""
        while True:
            async with self._duty:
                with trio.CancelScope() as self._shift:
                    if self._reliefs:  # while the lock was on its way here
                        self._shift.cancel()
                    if self.table is not None and self._needed:
                        await self._run_shift(self.table)
                    await trio.sleep_forever()

    @asynccontextmanager
    async def relieved(self) -> AsyncIterator[None]:
        """There is no process inside of this, and another one after it."""
        self._reliefs += 1
        self._shift.cancel()
        try:
            await self._duty.acquire()
        finally:
            self._reliefs -= 1
        try:
            yield
        finally:
            self._duty.release()

    async def _run_shift(self, table: EndpointTable) -> None:
        while True:
            began, beat = trio.current_time(), table.helper_beat
            end = await self._run_one(table)
            ready_at = began if table.helper_beat != beat else None
            delay = self._respawn.died(trio.current_time(), ready_at, random.random())
            logger.error(
                "the watcher of the upstreams %s; what it found last holds, and another one "
                "starts %s",
                end,
                f"in {delay:.1f} s" if delay else "at once",
            )
            await trio.sleep(delay)

    @property
    def _needed(self) -> bool:
        return any(
            pool.probe != OFF or any(map(has_name, pool.members().values()))
            for pool in self.config.pools
        )

    async def _run_one(self, table: EndpointTable) -> str:
        """Start one and wait for its end, which is told."""
        try:
            process = await self._start(table)
        except OSError as error:  # no memory, no descriptors
            return f"can't be started: {error.strerror}"
        self.pid = process.pid
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell, process)
                nursery.start_soon(self._look_after, process, table)
                code = await process.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.pid = None
            await _end(process)
        return f"(pid {process.pid}) {_fate(code)}"

    async def _start(self, table: EndpointTable) -> trio.Process:
        return await trio.lowlevel.open_process(
            [sys.executable, "-m", "balancer.upstream.watcher", str(table.fd)],
            stdin=subprocess.PIPE,
            pass_fds=[table.fd],
            start_new_session=True,
        )

    async def _tell(self, process: trio.Process) -> None:
        assert process.stdin is not None
        with suppress(trio.BrokenResourceError):  # it has died, and that is waited for
            await process.stdin.send_all(self.config.encode())

    async def _look_after(self, process: trio.Process, table: EndpointTable) -> None:
        beat, missed = table.helper_beat, 0
        while True:
            await trio.sleep(LOOK)
            before, beat = beat, table.helper_beat
            missed = missed + 1 if beat == before else 0
            if missed == LOOKS:
                logger.error(
                    "the watcher of the upstreams (pid %d) hangs and is killed", process.pid
                )
                process.kill()
                return


async def _end(process: trio.Process) -> None:
    """The pipe's end is its own; who doesn't hear is killed."""
    assert process.stdin is not None
    with trio.CancelScope(shield=True):
        await process.stdin.aclose()
        with trio.move_on_after(FAREWELL):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()


def _fate(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-code}"
