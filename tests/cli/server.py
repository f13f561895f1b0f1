"""A control server with nothing behind it, as a process.

``python -m tests.cli.server PATH``, or ``-n NAME UID``: with that name, as that user.
"""

from __future__ import annotations

import os
import sys

import trio

from balancer.master.control import serve_control
from balancer.settings import Settings
from tests.master.test_control import FakeCommands

__all__: list[str] = []


class Stopping(FakeCommands):
    """Ends the process when told to stop."""

    def __init__(self, scope: trio.CancelScope) -> None:
        super().__init__()
        self.scope = scope

    async def stop(self, *, quick: bool, wait: bool = False) -> None:
        await super().stop(quick=quick, wait=wait)
        self.scope.cancel()


async def serve(where: Settings) -> None:
    async with trio.open_nursery() as nursery:
        commands = Stopping(nursery.cancel_scope)
        await nursery.start(serve_control, commands, where)
        print("ready", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "-n":
        os.setgid(int(sys.argv[3]))
        os.setuid(int(sys.argv[3]))
        settings = Settings(name=sys.argv[2])
    else:
        settings = Settings(control=sys.argv[1])
    trio.run(serve, settings)
