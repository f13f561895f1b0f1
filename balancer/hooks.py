"""Hooks: gunicorn's functions of a configuration file, called when something happens to a server.

A ``Hooks`` is made from a dict of functions, wherever they come from: a configuration file, or the
``hooks`` of ``balancer.run`` and ``balancer.open_cluster``; what calls it and when is up to the
master and the workers.  Names and arguments are gunicorn's; ``server``, ``worker``, ``req`` and
``resp`` are small objects of ours.

In the master, between two steps of its loop, so that they must not take long:

======================================  ==========================================================
on_starting(server)                     before anything listens; if it raises, nothing starts
nworkers_changed(server, new, old)      the number of workers; ``old`` is None at the start
pre_fork(server, worker)                a worker is about to be forked, by the fork server, which is
                                        another process: nothing that this opens is inherited
when_ready(server)                      every slot has had a worker that was ready; once
on_reload(server)                       a rolling restart begins
child_exit(server, worker)              a worker is dead; ``worker.exit_code`` says of what
on_exit(server)                         everybody has left, or the start has failed
======================================  ==========================================================

In the worker:

======================================  ==========================================================
post_fork(server, worker)               before the app is imported
post_worker_init(worker)                the app has started; the worker is not ready yet
worker_int(worker)                      told to end at once, with requests cut
worker_abort(worker)                    SIGABRT: its loop hung for longer than ``--timeout``
worker_exit(server, worker)             the last thing before it ends by itself
pre_request(worker, req)                a request's head has come
post_request(worker, req, environ,      its response has been sent, or given up on
resp)
======================================  ==========================================================

What a hook raises is logged with its traceback and the server goes on, with three exceptions:
``on_starting`` (see above), and ``post_fork`` and ``post_worker_init``, which set something up that
the app relies on: a worker in which they fail doesn't become ready.
"""

from __future__ import annotations

import inspect
import logging
import os
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any, final

from balancer.errors import BalancerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "HOOKS",
    "WORKER_HOOKS",
    "Hooks",
    "Named",
    "Response",
    "Server",
    "Worker",
    "explain",
]

logger = logging.getLogger("balancer")

PACKAGE = os.path.dirname(__file__) + os.sep
SLOW = 1.0
"""Seconds after which a hook is said to hold everybody up."""

MASTER_HOOKS: Mapping[str, int] = {
    "on_starting": 1,
    "nworkers_changed": 3,
    "pre_fork": 2,
    "when_ready": 1,
    "on_reload": 1,
    "child_exit": 2,
    "on_exit": 1,
}
"""The number of arguments of each."""
WORKER_HOOKS: Mapping[str, int] = {
    "post_fork": 2,
    "post_worker_init": 1,
    "worker_int": 1,
    "worker_abort": 1,
    "worker_exit": 2,
    "pre_request": 2,
    "post_request": 4,
}
HOOKS: Mapping[str, int] = {**MASTER_HOOKS, **WORKER_HOOKS}

# of which gunicorn takes the first few, if a function has no more
SHORTENED = {"post_request": (2, 3)}


class Server:
    """The server, as a hook sees it.

    Attributes:
        pid: Of the master.
        log: A logger that writes to the server's log.
        cfg: The settings, under our names; in a worker, those that a worker needs.

    A hook may add attributes of its own; each process has its own object.
    """

    def __init__(self, pid: int, cfg: object) -> None:
        self.pid = pid
        self.log = logger
        self.cfg = cfg


class Worker:
    """A worker, as a hook sees it.

    Attributes:
        id: Its number, never used again.
        slot: Its place, from 1; its successor has the same.
        pid: Of its process; None in ``pre_fork``.
        exit_code: In ``child_exit``: negative for a signal, None if nobody knows.
        log: A logger that writes to the server's log.
        cfg: As the server's.

    A hook may add attributes of its own; each process has its own object.
    """

    def __init__(self, worker_id: int, slot: int, pid: int | None, cfg: object) -> None:
        self.id = worker_id
        self.slot = slot
        self.pid = pid
        self.exit_code: int | None = None
        self.log = logger
        self.cfg = cfg

    @property
    def age(self) -> int:
        """gunicorn's word for the id."""
        return self.id

    def __str__(self) -> str:
        return f"worker {self.id} (slot {self.slot}, pid {self.pid})"


@final
class Response:
    """A response, as ``post_request`` sees it: ``status_code``, 0 if none was begun."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code

    @property
    def status(self) -> str:
        """The same as text."""
        return str(self.status_code)


@final
class Hooks:
    """The functions to call, by name; none of them has to be there."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]] | None = None) -> None:
        """Take ``functions``; UsageError for a name that is no hook, or one that can't be called.

        The error names the hook alone: whoever knows its file puts that in front.
        """
        self._functions = {name: _check(name, each) for name, each in (functions or {}).items()}

    def __contains__(self, name: str) -> bool:
        return name in self._functions

    def __bool__(self) -> bool:
        return bool(self._functions)

    def override(self, functions: Mapping[str, Callable[..., Any]]) -> Hooks:
        """The same with other functions, which go before those that there are."""
        return Hooks({**self._functions, **functions})

    def call(self, name: str, *args: object) -> None:
        """Call a hook, if there is one; what it raises is logged."""
        try:
            self.run(name, *args)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's function
            logger.error("hook %s failed: %s", name, "\n".join(explain(error)))

    def run(self, name: str, *args: object) -> None:
        """Call a hook, if there is one; it may raise anything."""
        function = self._functions.get(name)
        if function is None:
            return
        start = time.monotonic()
        try:
            function(*args)
        finally:
            seconds = time.monotonic() - start
            if seconds > SLOW:
                who = "the master" if name in MASTER_HOOKS else "this worker"
                logger.warning("hook %s took %.1f s: %s did nothing else", name, seconds, who)


@final
class Named:
    """A worker's hooks by their import strings, as a program that uses the library gave them.

    They are imported in the worker, as its app is, and not before the fork: what their module
    starts is for one process.  All of them are found when the first is called, which is
    ``post_fork``: what can't be found keeps a worker from becoming ready, and none is looked for in
    the middle of a request, or in a handler of SIGABRT.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        functions: Mapping[str, Callable[..., Any]],
        find: Callable[[object, str, str], Callable[..., Any]],
    ) -> None:
        """Take import strings by the hooks' names, and the other hooks that there are.

        ``find`` is called with the ``cfg`` of a worker, a hook's name and its import string.
        """
        self._names = names
        self._others = functions
        self._find = find
        self._found: Hooks | None = None

    def functions(self) -> dict[str, Callable[..., Any]]:
        """What to make ``Hooks`` of."""
        late = {*self._names, *self._others, "post_fork"}
        return {name: partial(self._call, name) for name in HOOKS if name in late}

    def _call(self, name: str, who: Server | Worker, *args: object) -> None:
        if self._found is None:
            self._found = Hooks()  # what fails is said once
            found = {each: self._find(who.cfg, each, text) for each, text in self._names.items()}
            self._found = Hooks({**self._others, **found})
        self._found.run(name, who, *args)


def explain(error: BaseException) -> tuple[str, str]:
    """An exception in a line, and its traceback without the frames that led to the user's code.

    An error of ours is a sentence that needs none.
    """
    if isinstance(error, BalancerError):
        sentence, _, traceback_ = str(error).partition("\n")
        return sentence, error.details or traceback_
    where = error.__traceback__
    while where is not None and _is_ours(where.tb_frame.f_code.co_filename):
        where = where.tb_next
    lines = traceback.format_exception(type(error), error, where)
    return traceback.format_exception_only(error)[-1].strip(), "".join(lines).rstrip()


def _is_ours(file: str) -> bool:
    return file.startswith(PACKAGE) or "importlib" in file


def _check(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    if name not in HOOKS:
        raise UsageError(f"{name}: there is no such hook (there are {', '.join(HOOKS)})")
    if not callable(function):
        raise UsageError(f"{name} = {function!r}: a hook must be a function")
    if inspect.iscoroutinefunction(function):
        raise UsageError(f"{name}: a hook is a plain function, not an async one")
    for count in (HOOKS[name], *SHORTENED.get(name, ())):
        if _takes(function, count):
            return function if count == HOOKS[name] else _shorten(function, count)
    raise UsageError(f"{name}: a hook by this name must take {HOOKS[name]} argument(s)")


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C, without a signature
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _shorten(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    return lambda *args: function(*args[:count])
