"""``balancer.run``: ``balancer serve`` as a call, for scripts."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from balancer.cluster.assemble import assemble
from balancer.errors import BalancerError
from balancer.master.plan import Plan
from balancer.master.run import run as serve
from balancer.worker.current import refuse_in_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from balancer.cluster.assemble import Assembly
    from balancer.cluster.hooks import HookFunctions
    from balancer.hooks import Hooks
    from balancer.settings import Settings

__all__ = ["run"]


def run(*apps: object, hooks: HookFunctions | None = None, **settings: object) -> None:
    """Serve an app, or several ``Server`` objects, until told to stop; then return.

    This is ``balancer serve`` with the app and the flags as arguments: the same banner, signals,
    pid file and control socket, and what the environment says (``PORT``, ``BALANCER_WORKERS``…)
    where no argument does.  What keeps the server from starting is printed as one sentence, and
    ends the script with the exit code that the command would have.

    Put it under ``if __name__ == "__main__":``, because workers import the script for the app.

    Args:
        apps: An import string, or a function, class or instance that is an attribute of a module.
            None: the demo.
        hooks: Functions by the names of ``balancer.hooks``: ``{"post_fork": connect}``.  Those
            that run in workers are imported there, as the app is, each time that one is started.
            They go before a file's.
        settings: As on the command line: ``workers``, ``bind``, ``policy``…; ``config`` names a
            file of settings, and of hooks.

    Raises:
        UsageError: an argument makes no sense.
        InWorkerError: this is a worker.
        SystemExit: the server can't start.
    """
    refuse_in_worker("balancer.run()")
    caller = sys._getframe(1).f_globals.get("__name__")
    make = partial(assemble, apps, settings, caller=caller, env=os.environ, hooks=hooks)
    assembly = make()
    plan = Plan(
        exclusive=assembly.exclusive,
        program=assembly.program,
    )
    try:
        serve(assembly.settings, assembly.hooks, plan, partial(_read, make))
    except BalancerError as error:
        _leave(error)
    except ExceptionGroup as group:  # out of the master's nurseries
        ours, others = group.split(BalancerError)
        if ours is None or others is not None:
            raise
        _leave(next(_leaves(ours)))


def _read(make: Callable[[], Assembly]) -> tuple[Settings, Hooks | None]:
    """The same call again: what the file and the environment say may have changed."""
    assembly = make()
    return assembly.settings, assembly.hooks


def _leave(error: Exception) -> None:
    assert isinstance(error, BalancerError)
    print(f"balancer: error: {' '.join(str(error).split())}", file=sys.stderr)
    raise SystemExit(int(error.exit_code)) from error


def _leaves(group: ExceptionGroup[BalancerError]) -> Iterator[BalancerError]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
