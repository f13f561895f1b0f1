"""Settings as keyword arguments: ``workers=4, bind=["127.0.0.1:8000"], recall=None``.

A value may be what it is (a number, a bool, a path) or the text that a flag takes, and goes through
the same parser.  None is ``off`` where that is a value of the setting, and else: as if not given.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from balancer.errors import UsageError
from balancer.settings.origin import Given, Origin, Rank
from balancer.settings.suggest import suggestion
from balancer.settings.table import SETTINGS
from balancer.settings.values import text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_arguments"]


def read_arguments(arguments: Mapping[str, object]) -> list[Given]:
    """What a call said, unparsed.

    Raises:
        UsageError: there is no such setting, or a value has a type that it can't have.
    """
    found = []
    for name, value in arguments.items():
        if name not in SETTINGS:
            raise UsageError(f"{name}: there is no such setting{suggestion(name, SETTINGS)}")
        if value is None and name != "recall":
            continue
        found.append(_given(name, value))
    return found


def _given(name: str, value: object) -> Given:
    kind = SETTINGS[name].kind
    items = value if kind.many and isinstance(value, list | tuple) else [value]
    texts = [text_of(item, kind) if (text := _text(item)) is None else text for item in items]
    given = Given(
        name,
        Origin(Rank.ARGUMENT, name),
        repr(value),
        tuple(text for text in texts if text is not None),
    )
    if None in texts or not texts:
        raise UsageError(f"{given}: must be {kind.wants}")
    return given


def _text(value: object) -> str | None:
    if value is None:
        return "off"
    if isinstance(value, str):
        return value
    return os.fsdecode(value) if isinstance(value, os.PathLike) else None
