"""A study that begins now, on this machine."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.study.record import Study

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["begin"]


def begin(
    kind: str, arguments: Sequence[str], settings: Mapping[str, str | int | float | bool]
) -> Study:
    """An empty one of ``python -m benchmarks KIND ARGUMENTS``."""
    about = machine.describe()
    return Study(
        kind,
        datetime.now().astimezone().isoformat(timespec="seconds"),
        ["python", "-m", "benchmarks", kind, *arguments],
        {key: value if isinstance(value, int) else str(value) for key, value in about.items()},
        dict(settings),
    )
