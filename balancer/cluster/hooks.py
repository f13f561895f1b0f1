"""The ``hooks`` of a call: functions by gunicorn's names, as in a configuration file.

Those of the master are called as they are.  Those of the workers are found there by import, as the
app is, so what has no name in a module is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from balancer.cluster.apps import name_of
from balancer.errors import UsageError
from balancer.hooks import WORKER_HOOKS, Hooks

__all__ = ["FINDER", "HookFunctions", "names_of", "read_hooks"]

HookFunctions = Mapping[str, Callable[..., Any] | None]
"""Hooks by name; None stands for none."""

FINDER = "balancer.worker.app:find_hook"
"""What finds a worker's hooks in the worker."""


def read_hooks(given: object) -> dict[str, Callable[..., Any]]:
    """The functions that an argument ``hooks`` names; None stands for none.

    Raises:
        UsageError: it is no mapping, or has a name or a function that can't be a hook.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UsageError(f"hooks={given!r}: must be a mapping of names to functions")
    functions = {str(name): function for name, function in given.items() if function is not None}
    try:
        Hooks(functions)
    except UsageError as error:
        raise UsageError(f"hooks: {error}") from None
    return functions


def names_of(functions: Mapping[str, object], caller: str | None) -> tuple[tuple[str, str], ...]:
    """The import strings of the workers' hooks among them, by name.

    Raises:
        UsageError: no worker could find one: it is a lambda, a closure, or a bound method.
    """
    return tuple(
        (name, name_of(function, caller, f"hook {name}"))
        for name, function in functions.items()
        if name in WORKER_HOOKS
    )
