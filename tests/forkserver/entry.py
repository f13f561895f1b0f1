"""What the fork servers of these tests call in a worker: does what its first fd tells it.

The first descriptor of every ``Spawn`` is one end of a stream pair; the test writes one line to it:
``exit N``, ``fds``, ``stop``, ``signals``, ``eof`` (wait for the end, then exit).
"""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import TYPE_CHECKING

from balancer.errors import AppError

if TYPE_CHECKING:
    from balancer.core.messages import Spawn, WorkerConfig

PRELOADED: list[str] = []


def warm(_config: WorkerConfig) -> None:
    """Nothing is needed."""


def preload(config: WorkerConfig) -> None:
    """Fails for an app of that name, as an import would."""
    if config.app == "broken":
        raise AppError("app broken: no module named broken")
    PRELOADED.append(str(config.app))


def main(config: WorkerConfig, spawn: Spawn, fds: list[int]) -> int:
    """Obey the test."""
    with socket.socket(fileno=fds[0]) as control, control.makefile("rw") as lines:
        command, *arguments = lines.readline().split() or ["gone"]
        if command == "exit":
            return int(arguments[0])
        if command == "raise":
            raise RuntimeError("as told")
        if command == "fds":
            _answer(lines, open_descriptors())
        elif command == "about":
            about = {"worker": spawn.worker, "slot": spawn.slot, "families": spawn.families}
            _answer(lines, about | {"preloaded": PRELOADED, "level": config.log_level})
        elif command == "signals":
            _answer(lines, {number.name: _disposition(number) for number in signal.Signals})
        elif command == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        lines.readline()  # until the test closes its end
    return 0


def open_descriptors() -> dict[str, str]:
    """What this process has open, by descriptor."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the descriptor of this very listing
            continue
    return found


def _disposition(number: signal.Signals) -> str:
    handler = signal.getsignal(number)
    return handler.name if isinstance(handler, signal.Handlers) else "handled"


def _answer(lines: object, answer: object) -> None:
    print(json.dumps(answer), file=lines, flush=True)  # type: ignore[call-overload]
