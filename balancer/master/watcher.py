"""Keeps the watcher of the upstreams running (``balancer.upstream.watcher``).

It is beside the master, so that no probe and no name server is ever waited for by who accepts
connections.  When it dies, the table says what it said, the next one goes on from there, and the
time until then is the respawn's (``core.respawn``).  When it hangs, which its beat in the table
shows, it is killed.
"""

from __future__ import annotations

import logging
import random
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, final

import trio

from balancer.core.respawn import Respawn
from balancer.settings.probe import OFF
from balancer.settings.upstream import parse_upstream
from balancer.upstream.placement import has_name
from balancer.upstream.watcher.config import INTERNAL, WatcherConfig

if TYPE_CHECKING:
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


def watcher_config(settings: Settings) -> WatcherConfig:
    """What the settings say to a watcher."""
    names = {field.name for field in fields(WatcherConfig)} - INTERNAL
    return WatcherConfig(**{name: getattr(settings, name) for name in names})


@final
class Watcher:
    """The watcher's process, and the next one when that is gone.

    Args:
        config: What each of them is told.
        table: The table, which must stay open for as long as ``run`` runs.
    """

    def __init__(self, config: WatcherConfig, table: EndpointTable) -> None:
        self.pid: int | None = None
        """The process, while there is one."""
        self._config = config
        self._table = table
        self._respawn = Respawn()

    async def run(self) -> None:
        """Until cancelled, when the process goes, too; or not at all, with nothing to watch."""
        while self._needed:
            began, beat = trio.current_time(), self._table.helper_beat
            end = await self._run_one()
            ready_at = began if self._table.helper_beat != beat else None
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
        config = self._config
        return config.probe != OFF or any(map(has_name, map(parse_upstream, config.upstreams)))

    async def _run_one(self) -> str:
        """Start one and wait for its end, which is told."""
        try:
            process = await self._start()
        except OSError as error:  # no memory, no descriptors
            return f"can't be started: {error.strerror}"
        self.pid = process.pid
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell, process)
                nursery.start_soon(self._look_after, process)
                code = await process.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.pid = None
            await _end(process)
        return f"(pid {process.pid}) {_fate(code)}"

    async def _start(self) -> trio.Process:
        return await trio.lowlevel.open_process(
            [sys.executable, "-m", "balancer.upstream.watcher", str(self._table.fd)],
            stdin=subprocess.PIPE,
            pass_fds=[self._table.fd],
            start_new_session=True,
        )

    async def _tell(self, process: trio.Process) -> None:
        assert process.stdin is not None
        with suppress(trio.BrokenResourceError):  # it has died, and that is waited for
            await process.stdin.send_all(self._config.encode())

    async def _look_after(self, process: trio.Process) -> None:
        beat, missed = self._table.helper_beat, 0
        while True:
            await trio.sleep(LOOK)
            before, beat = beat, self._table.helper_beat
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
