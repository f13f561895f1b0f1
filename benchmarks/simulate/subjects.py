"""What is simulated by name: every policy of the table, the kernel's, and a user's own."""

from __future__ import annotations

import importlib
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from balancer.core.policy import KERNEL_POLICIES, POLICIES
from balancer.core.policy.guarded import Guarded
from benchmarks.study.choice import ChoiceError
from benchmarks.study.workloads import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from balancer.core.policy import Policy
    from benchmarks.study.workloads import Workload

    Random = Callable[[], float]
    Names = Callable[[int], bytes]
    Maker = Callable[[Random, Names], Policy]

__all__ = ["maker", "policies", "weights"]

_FAST = 10
"""The weight of the others where one is ten times as slow."""


def policies(wanted: Iterable[str]) -> list[str]:
    """The wanted ones, all when none is; ChoiceError."""
    known = [*POLICIES, *sorted(KERNEL_POLICIES, reverse=True)]
    chosen = list(wanted)
    for name in chosen:
        if name not in known and ":" not in name:
            raise ChoiceError(
                f"--policy {name}: there is none; the policies are {', '.join(known)}, and "
                "module:Class is one of your own"
            )
        maker(name)
    return chosen or known


def maker(name: str) -> Maker | None:
    """What makes a policy; None where the kernel decides.  ChoiceError: it can't be made."""
    if name in KERNEL_POLICIES:
        return None
    if name in POLICIES:
        return POLICIES[name]
    own = _own(name)
    return lambda _random, _names: Guarded(own(), partial(_report, name))


def weights(policy: str, workload: Workload, workers: int) -> list[int]:
    """By slot: what a user would set who knows of a slow worker, the first; else all alike."""
    if policy == "weighted" and workload.trouble is Trouble.SLOW:
        return [1, *[_FAST] * (workers - 1)]
    return [1] * workers


_FAILED: set[str] = set()


def _report(name: str, error: BaseException) -> None:
    """Once for all cells: the same policy fails in the same way in each."""
    if name in _FAILED:
        return
    _FAILED.add(name)
    print(
        f"--policy {name} has failed, and round-robin takes its place: "
        f"{type(error).__name__}: {error}",
        file=sys.stderr,
    )


def _own(name: str) -> Callable[[], Policy]:
    module, _, attr = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in attr.split("."):
            found = getattr(found, part)
        found()
    except Exception as error:
        raise ChoiceError(
            f"--policy {name}: {type(error).__name__}: {error} (it is looked for in {os.getcwd()} "
            "first)"
        ) from error
    made: Callable[[], Policy] = found
    return made
