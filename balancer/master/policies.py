"""The policy that the master decides by, ours or the user's own.

Ours stand in ``core.policy.TABLE``.  ``--policy module:Class`` is imported here, in the master,
before a port is bound: from the folder of the app, or wherever Python finds it.  It is anything
that can be called without arguments and returns what has the methods of ``balancer.Policy``; one is
made for every listener.  It is read once, as the settings are: a reload of the app doesn't change
it.  What goes wrong with it later costs nobody a connection (``core.policy.guarded``).
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
from typing import TYPE_CHECKING, final

from balancer.core.policy import KERNEL_POLICIES, POLICIES, Policy
from balancer.core.policy.guarded import Guarded
from balancer.errors import UsageError
from balancer.hooks import explain
from balancer.settings.policy import parse_own

if TYPE_CHECKING:
    from typing import Any

    from balancer.core.policy import Maker, Names, Random
    from balancer.settings import Settings
    from balancer.settings.policy import OwnPolicy

__all__ = ["find_policy"]

logger = logging.getLogger("balancer")

METHODS = ("offer", "withdraw", "forget", "pick", "__len__")


def find_policy(settings: Settings, *, last: bool = False) -> Maker:
    """What makes the policy of a listener.

    Args:
        settings: ``policy`` is its name, and ``app_dir`` where a user's own is looked for:
        last: Only after everything that is in ``sys.path``.

    Raises:
        UsageError: There is no such policy of the user's, or it isn't one.
    """
    own = parse_own(settings.policy)
    if own is not None:
        return _Own(f"{settings.where('policy')} {settings.policy}", own, settings.app_dir, last)
    if settings.policy in KERNEL_POLICIES:
        return POLICIES["round-robin"]  # for the few that the master accepts all the same
    return POLICIES[settings.policy]


@final
class _Own:
    """Makes guarded policies of the user's, and says so when one of them fails."""

    def __init__(self, who: str, own: OwnPolicy, folder: str, last: bool) -> None:
        self._who = who
        self._said = False
        self._class = _find(who, own, folder, last)
        self._first = [self._make()]  # so that what is wrong shows before a port is bound

    def __call__(self, _random: Random, _names: Names) -> Guarded:
        return self._first.pop() if self._first else self._make()

    def _make(self) -> Guarded:
        try:
            policy: Policy = self._class()
            guarded = Guarded(policy, self._report)  # which reads what it uses
        except (Exception, SystemExit) as error:
            sentence, details = explain(error)
            raise UsageError(f"{self._who} can't be made: {sentence}", details) from error
        for name in METHODS:
            if (fault := _fault(policy, name)) is not None:
                raise UsageError(f"{self._who} is no policy: {fault} (see balancer.Policy)")
        return guarded

    def _report(self, error: BaseException) -> None:
        sentence, details = explain(error)
        text = f"{self._who} has failed, and round-robin takes its place: {sentence}"
        # Another listener's has the same traceback.
        logger.error("%s", text if self._said else f"{text}\n{details}")
        self._said = True


def _fault(policy: object, name: str) -> str | None:
    """What is wrong with a method of a policy."""
    method = getattr(policy, name, None)
    # a class that is derived from the protocol has all of them, and those do nothing
    if not callable(method) or getattr(type(policy), name, None) is getattr(Policy, name):
        return f"it has no {name}()"
    return f"its {name}() is async" if inspect.iscoroutinefunction(method) else None


def _find(who: str, own: OwnPolicy, folder: str, last: bool) -> Any:  # noqa: ANN401 - the user's
    folder = os.path.abspath(folder)
    if folder not in sys.path:
        sys.path.insert(len(sys.path) if last else 0, folder)
    try:
        found: Any = importlib.import_module(own.module)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{own.module}.".startswith(f"{missing}."):
            raise UsageError(
                f"{who}: there is no module {missing}; it is looked for in {folder} first"
            ) from None
        sentence, details = explain(error)
        raise UsageError(f"{who}: can't import {own.module}: {sentence}", details) from error
    for name in own.attr.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise UsageError(f"{who}: {own.module} has no {own.attr}") from None
    if not callable(found):
        raise UsageError(f"{who}: must be a class, or a function that makes a policy")
    return found
