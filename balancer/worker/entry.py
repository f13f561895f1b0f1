"""What the fork server calls in a new worker process: from inherited fds to a running loop.

A SIGTERM is never lost on the way.  Until ``main`` it is blocked, by the fork server.  While the
app is loaded a handler keeps it: a mask, like SIG_IGN, would be inherited by what the app starts.
Then it is blocked again, until the loop runs and asks the master for leave (``Worker.run``).
"""

from __future__ import annotations

import faulthandler
import importlib
import logging
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn, final

import msgspec
import trio

from balancer import log
from balancer.apps.asgi.asyncio_only import asyncio_only_modules
from balancer.core.messages import BootFailed, encode_frame
from balancer.errors import AppError, BalancerError
from balancer.net.endpoints import EndpointTable
from balancer.net.handoff import HandoffReceiver
from balancer.net.identity import set_umask, take_on
from balancer.net.mailbox import Mailbox
from balancer.net.slots import SlotTable, SlotWriter
from balancer.settings import Interface
from balancer.worker.accesslog import open_access_log
from balancer.worker.app import find_app, import_app, services
from balancer.worker.current import become, forbid_servers
from balancer.worker.group import make_group
from balancer.worker.hooks import WorkerHooks, load_hooks
from balancer.worker.program import adopt
from balancer.worker.services import make_service
from balancer.worker.stderr import redirect
from balancer.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from balancer.core.messages import Spawn, WorkerConfig
    from balancer.worker.accesslog import AccessLog
    from balancer.worker.app import App
    from balancer.worker.current import CurrentWorker

    _BornWith = tuple[
        HandoffReceiver,
        socket.socket,
        SlotWriter,
        tuple[int, ...],
        list[socket.socket],
        WorkerHooks,
    ]

__all__ = ["main", "preload", "read_hooks", "warm"]

logger = logging.getLogger("balancer")

ASYNCIO_EXTRAS = ("uvloop", "uvicorn.protocols.http.auto", "uvicorn.protocols.websockets.auto")


def warm(config: WorkerConfig) -> None:
    """Import once what every worker needs for its engine and its services, whatever the app."""
    if any(each.upstreams for each in services(config)):
        importlib.import_module("balancer.worker.proxy")
    if config.engine == "uvicorn":
        # what is wrong with an import is for the worker to say
        for name in ("balancer.worker.aio.service", "balancer.worker.aio.worker", *ASYNCIO_EXTRAS):
            with suppress(ImportError):
                importlib.import_module(name)


def read_hooks(config: WorkerConfig) -> None:
    """Read the hooks once, before the workers are forked."""
    load_hooks(config.config)


def preload(config: WorkerConfig) -> None:
    """Import the app once, before the workers are forked."""
    set_umask(config.umask)
    forbid_servers()
    adopt(config.program)
    for each in services(config):
        import_app(each)


def main(config: WorkerConfig, spawn: Spawn, fds: list[int]) -> int:
    """Be worker ``spawn.worker`` until told to leave; owns ``fds``; returns the exit code."""
    control = socket.socket(fileno=fds[1])
    extras = dict(zip(spawn.extras, fds[3:], strict=False))
    early = _EarlyTerm(control)
    if spawn.worker_connections:
        config = msgspec.structs.replace(config, worker_connections=spawn.worker_connections)
    if spawn.log_level:
        config = msgspec.structs.replace(config, log_level=spawn.log_level)
    hooks = WorkerHooks(config, load_hooks(config.config), spawn.worker, spawn.slot)
    _signals(early, hooks)
    redirect(extras)
    set_umask(config.umask)
    log.configure(config.log_level)
    os.environ.update(spawn.env)
    os.environ["BALANCER_WORKER_ID"] = str(spawn.worker)
    os.environ["BALANCER_WORKER_SLOT"] = str(spawn.slot)
    current = become(spawn, _mailbox(config, extras), on_trio=config.engine == "trio")
    try:
        return _work(config, spawn, fds, control, early, hooks, current, extras.get("endpoints"))
    finally:
        hooks.worker_exit()


def _work(
    config: WorkerConfig,
    spawn: Spawn,
    fds: list[int],
    control: socket.socket,
    early: _EarlyTerm,
    hooks: WorkerHooks,
    current: CurrentWorker,
    endpoints: int | None,
) -> int:
    pair, _, table, *rest = fds
    listeners = rest[len(spawn.extras) :]
    upstreams = None if endpoints is None else EndpointTable.open(endpoints)
    if upstreams is not None:
        upstreams.goes_by(spawn.row, config.edition)
    try:
        access = open_access_log(config, spawn.worker)
        hooks.post_fork()
        take_on(config.user, config.group, initgroups=config.initgroups)
        adopt(config.program)
        found = [(each, find_app(each)) for each in services(config)]
        born_with = (
            HandoffReceiver(socket.socket(fileno=pair)),
            control,
            SlotWriter(SlotTable(table).row(spawn.row)),
            spawn.families,
            [socket.socket(fileno=fd) for fd in listeners],
            hooks,
        )
        if config.engine == "uvicorn":
            run_worker = _on_asyncio(config, found[0][1], spawn, born_with, access, current)
        else:
            run_worker = _on_trio(config, found, spawn, born_with, access, current, upstreams)
    except BalancerError as error:
        return _give_up(control, error)
    if spawn.slot == 1:  # said once, not by every worker
        for each, app in found:
            if app is not None:
                _describe(app, each)
    early.pass_on()
    return run_worker()


def _on_trio(
    config: WorkerConfig,
    found: Sequence[tuple[WorkerConfig, App | None]],
    spawn: Spawn,
    born_with: _BornWith,
    access: AccessLog | None,
    current: CurrentWorker,
    upstreams: EndpointTable | None,
) -> Callable[[], int]:
    hooks = born_with[-1]
    around = hooks.around if hooks.per_request else None
    makes = [
        partial(
            make_service,
            each,
            app,
            spawn.worker,
            around=around,
            access=access,
            row=spawn.row,
            upstreams=upstreams if each.upstreams else None,
        )
        for each, app in found
    ]
    make = partial(make_group, makes, spawn.servers) if spawn.servers else makes[0]
    worker = Worker(
        config, make, *born_with, access=access, inherited=spawn.inherited, current=current
    )
    worker.held = spawn.held

    def run() -> int:
        code = trio.run(worker.run, strict_exception_groups=True)
        if worker.gave_up:
            _end_at_once(code)
        return code

    return run


def _on_asyncio(
    config: WorkerConfig,
    app: App | None,
    spawn: Spawn,
    born_with: _BornWith,
    access: AccessLog | None,
    current: CurrentWorker,
) -> Callable[[], int]:
    # here, because a worker on trio needs none of it, nor the megabytes that it takes
    from balancer.worker.aio.loop import run
    from balancer.worker.aio.service import make_service
    from balancer.worker.aio.worker import Worker

    assert app is not None  # the settings see to it
    hooks = born_with[-1]
    watcher = hooks if hooks.per_request else None
    make = partial(make_service, config, app, spawn.worker, access=access, watcher=watcher)
    worker = Worker(
        config, make, *born_with, access=access, inherited=spawn.inherited, current=current
    )
    worker.held = spawn.held
    return partial(run, worker)


def _end_at_once(code: int) -> NoReturn:
    """End the process without a look at its threads, which an interpreter's exit would wait for."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):  # nobody reads it any more, or it was closed
                stream.flush()
    os._exit(code)


@final
class _EarlyTerm:
    """SIGTERM while the app is loaded: a wish to leave, unless the master wants it to end now."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pid = os.getpid()
        self._came = False

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """The handler."""
        self._came = True
        if os.getpid() != self._pid or self._told_to_end():  # what the app forks inherits this
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _told_to_end(self) -> bool:
        """Whether the master has said ``Quit``, right before its SIGTERM, or is gone."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        return bool(poll.poll(0))

    def pass_on(self) -> None:
        """From now on the kernel keeps it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        if self._came:
            signal.raise_signal(signal.SIGTERM)


def _signals(early: _EarlyTerm, hooks: WorkerHooks) -> None:
    # The terminal's signals are the master's.  Not SIG_IGN, which the app's own children would
    # inherit across exec.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGTERM, early)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    hooks.watch_abort()
    if sys.stderr is not None:
        # The master asks a worker that hangs for its stacks with ABRT before it kills it.
        faulthandler.enable()


def _mailbox(config: WorkerConfig, extras: dict[str, int]) -> Mailbox | None:
    fd = extras.get("mailbox")
    if fd is None:
        return None
    mailbox = Mailbox(socket.socket(fileno=fd))
    if config.engine == "trio":
        return mailbox
    mailbox.close()  # so that who sends hears at once that nobody listens
    if os.environ["BALANCER_WORKER_ID"] == "1":  # said once, not by every worker
        logger.info("--engine uvicorn: workers neither send nor receive messages")
    return None


def _describe(app: App, config: WorkerConfig) -> None:
    if app.guessed:
        logger.info("app %s looks like %s", app.name, app.interface.value.upper())
    if app.interface is not Interface.WSGI and config.threads > 1:
        logger.warning(
            "--threads %d: has no effect on app %s, which is %s: threads are for WSGI",
            config.threads,
            app.name,
            app.interface.value.upper(),
        )
    if config.engine != "trio":
        return
    if app.interface is Interface.ASGI and (modules := asyncio_only_modules()):
        logger.warning(
            "app %s imports %s, which need asyncio, and this engine is trio: where requests fail, "
            "use --engine uvicorn",
            app.name,
            ", ".join(modules),
        )


def _give_up(control: socket.socket, error: BalancerError) -> int:
    is_app = isinstance(error, AppError)
    with control:
        control.sendall(encode_frame(BootFailed(str(error), app=is_app)))
    return error.exit_code
