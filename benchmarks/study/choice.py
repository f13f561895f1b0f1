"""Names that a user chooses from a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.study.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from benchmarks.study.workloads import Workload

__all__ = ["ChoiceError", "chosen", "workloads"]


class ChoiceError(Exception):
    """A name that doesn't exist; the message is the list of those that do."""


def chosen(what: str, plural: str, wanted: Sequence[str], there: Collection[str]) -> list[str]:
    """The wanted ones in the table's order, all when none is wanted; ChoiceError."""
    for name in wanted:
        if name not in there:
            raise ChoiceError(f"{what} {name}: there is none; the {plural} are {', '.join(there)}")
    return [name for name in there if not wanted or name in wanted]


def workloads(wanted: Sequence[str]) -> list[Workload]:
    """The rows of the wanted ones, all when none is wanted; ChoiceError."""
    return [WORKLOADS[name] for name in chosen("--workload", "workloads", wanted, WORKLOADS)]
