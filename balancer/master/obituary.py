"""What the log says about a worker's death."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balancer.master.worker import WorkerHandle

__all__ = ["cause", "has_left", "report"]

logger = logging.getLogger("balancer")


def report(worker: WorkerHandle, handed_on: int, follows: str) -> None:
    """One line about a death: the cause, how many connections others get, and what follows."""
    if has_left(worker):
        logger.info("%s has left", worker)
        return
    if handed_on:
        follows = f"{handed_on} connection(s) go to others, {follows}"
    sentence, newline, traceback = cause(worker).partition("\n")
    logger.error("%s %s; %s%s%s", worker, sentence, follows, newline, traceback)


def has_left(worker: WorkerHandle) -> bool:
    """Whether it ended as a worker ends."""
    return worker.boot_error is None and (
        worker.exit_code == 0 or (worker.expected and worker.exit_code in {None, -signal.SIGTERM})
    )


def cause(worker: WorkerHandle) -> str:
    """Why a worker died, as a person would say it; perhaps with a traceback below."""
    if worker.boot_error is not None:
        return f"failed to start: {worker.boot_error.text}"
    code = worker.exit_code
    if code is None:
        return "died (its fork server had died before, so nobody knows of what)"
    if code >= 0:
        return f"exited with {code}"
    if worker.oom is not None:
        return worker.oom
    killed = f"was killed by {_signal_name(-code)}"
    if worker.killed_for is not None:
        return f"{killed}, from the master: {worker.killed_for}"
    if -code == signal.SIGKILL:
        return f"{killed} (by somebody else, or the machine ran out of memory)"
    return killed


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
