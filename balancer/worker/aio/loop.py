"""uvloop where it is installed, else asyncio's own loop."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balancer.errors import ExitCode
    from balancer.worker.aio.worker import Worker

__all__ = ["new_loop", "run"]


def new_loop() -> asyncio.AbstractEventLoop:
    """A new event loop of the fastest kind there is."""
    if find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


def run(worker: Worker) -> ExitCode:
    """Run a worker to its end; the exit code."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(worker.run())
