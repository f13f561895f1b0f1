"""What the fork server calls in a new worker process: from inherited fds to a running loop."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import trio

from balancer import log
from balancer.core.messages import BootFailed, encode_frame
from balancer.errors import AppError, BalancerError, ExitCode
from balancer.net.handoff import HandoffReceiver
from balancer.net.slots import SlotTable, SlotWriter
from balancer.worker.app import import_app, load_app
from balancer.worker.worker import Worker

if TYPE_CHECKING:
    from balancer.core.messages import Spawn, WorkerConfig

__all__ = ["main", "preload"]

logger = logging.getLogger("balancer")


def preload(config: WorkerConfig) -> None:
    """Import the app once, before the workers are forked."""
    import_app(config.app)


def main(config: WorkerConfig, spawn: Spawn, fds: list[int]) -> int:
    """Be worker ``spawn.worker`` until told to leave; owns ``fds``; returns the exit code."""
    _signals()
    log.configure(config.log_level)
    os.environ["BALANCER_WORKER_ID"] = str(spawn.worker)
    os.environ["BALANCER_WORKER_SLOT"] = str(spawn.slot)
    pair, channel, table, *listeners = fds
    control = socket.socket(fileno=channel)
    try:
        handler = load_app(config.app, spawn.worker)
    except BalancerError as error:
        return _give_up(control, error)
    worker = Worker(
        config,
        handler,
        HandoffReceiver(socket.socket(fileno=pair)),
        control,
        SlotWriter(SlotTable(table).row(spawn.row)),
        spawn.families,
        [socket.socket(fileno=fd) for fd in listeners],
    )
    trio.run(worker.run, strict_exception_groups=True)
    return ExitCode.OK


def _signals() -> None:
    # The terminal's signals are the master's.  Not SIG_IGN, which the app's own children would
    # inherit across exec.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    # Until the loop can drain, TERM ends a worker that has nothing to lose.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.stderr is not None:
        # The master asks a worker that hangs for its stacks with ABRT before it kills it.
        faulthandler.enable()


def _give_up(control: socket.socket, error: BalancerError) -> int:
    is_app = isinstance(error, AppError)
    with control:
        control.sendall(encode_frame(BootFailed(str(error), app=is_app)))
    return error.exit_code
