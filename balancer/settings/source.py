"""A configuration file: which one, and what was found in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from balancer.errors import UsageError
    from balancer.settings.origin import Given, Origin

__all__ = ["Config", "ConfigSource", "Listener", "Table"]

MODULE = "python:"


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """What ``-c`` named, so that another process can read the same.

    Attributes:
        name: ``app.toml``, ``gunicorn.conf.py`` or ``python:module``, as the user wrote it.
            Empty: there is no file, only ``calls``.
        folder: The working directory in which that was written.
        calls: Hooks of the workers that a program gave beside it: name and import string of each.
        finder: ``module:attr`` of the function that finds these; see ``balancer.hooks.Named``.
    """

    name: str
    folder: str
    calls: tuple[tuple[str, str], ...] = ()
    finder: str = ""

    @property
    def module(self) -> str | None:
        """The module's name, None if it is a file."""
        if not self.name.startswith(MODULE):
            return None
        return self.name.removeprefix(MODULE)


@dataclass(frozen=True, slots=True)
class Table:
    """One ``[apps.NAME]`` or ``[pools.NAME]`` of a file, unparsed.

    Attributes:
        kind: ``apps`` or ``pools``.
        name: What a listener calls it.
        origin: Where it begins.
        given: Its settings.
    """

    kind: str
    name: str
    origin: Origin
    given: tuple[Given, ...]


@dataclass(frozen=True, slots=True)
class Listener:
    """One ``[[listeners]]`` of a file, unparsed.

    Attributes:
        origin: Where it begins.
        bind: Where to listen; None: it doesn't say.
        service: The table that is served there, as its kind, its name, and how that is written;
            None: it doesn't say.
        broken: What it serves can't be known, and that has been said already.
    """

    origin: Origin
    bind: Given | None
    service: tuple[str, str, Given] | None
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """What a file says.

    Attributes:
        given: Its settings for all, unparsed.
        functions: Its hooks, by name.
        source: Where to read the hooks again, None if the workers need none of them.
        warning: What the user should know: settings that there are elsewhere but not here.
        tables: Its apps and pools.
        listeners: What says where they are served.
        errors: What is wrong with keys and types; what is wrong with values is seen later.
    """

    given: list[Given]
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    source: ConfigSource | None = None
    warning: str | None = None
    tables: tuple[Table, ...] = ()
    listeners: tuple[Listener, ...] = ()
    errors: tuple[UsageError, ...] = ()
