"""``-c FILE.py`` and ``-c python:module``: names are settings, functions are hooks, as in gunicorn.

A program that uses the library may name hooks of the workers without a file, or beside one.

The file is a program: it may import and compute, and its own variables are its own affair.  So an
unknown name is no error here, as it is in TOML; what gunicorn has and we don't is reported once,
and so is a name that is all but one of ours.  Nothing is read that was not named.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from balancer.errors import UsageError
from balancer.hooks import HOOKS, WORKER_HOOKS, Hooks, Named, explain
from balancer.settings.gunicorn import LACKING, is_off, translate
from balancer.settings.origin import Given, Origin, Rank
from balancer.settings.source import Config
from balancer.settings.table import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from balancer.settings.kinds import Kind
    from balancer.settings.source import ConfigSource

__all__ = ["read_python"]

TABLES = frozenset({"apps", "pools", "listeners"})
CLOSE = 0.9
"""So alike is a name to a setting's that it is taken for a slip of the finger."""
SHOWN = 60


def read_python(source: ConfigSource) -> Config:
    """What a Python file or module says, its settings unparsed, and what a program has named.

    Raises:
        UsageError: it can't be read; it fails, with its own traceback as details; a hook can't be
            called.  A value of a wrong type is in the result.
    """
    config = _read(source) if source.name else Config([])
    if not source.calls:
        return config
    module, _, attr = source.finder.partition(":")
    find = getattr(importlib.import_module(module), attr)
    functions = Named(dict(source.calls), config.functions, find).functions()
    return dataclasses.replace(config, functions=functions, source=source)


def _read(source: ConfigSource) -> Config:
    module, text = _import(source) if source.module is not None else _execute(source)
    lines = _lines(text)
    names = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    functions = {name: value for name, value in names.items() if name in HOOKS and value}
    try:
        Hooks(functions)
    except UsageError as error:
        name = str(error).partition(" ")[0].rstrip(":")
        raise UsageError(f"{_place(source.name, lines.get(name))}{error}") from None
    given: list[Given] = []
    errors: list[UsageError] = []
    lacking = []
    for name, value in names.items():
        if name in HOOKS or value is None or isinstance(value, ModuleType):
            continue
        found = translate(name, value)
        if found is not None:
            origin = Origin(Rank.FILE, name, source.name, lines.get(name))
            given.append(_given(origin, *found, shown=value, errors=errors))
        elif (name in LACKING and not is_off(name, value)) or _is_a_table(name, value):
            lacking.append(name)
    workers_need_it = any(name in WORKER_HOOKS for name in functions)
    return Config(
        given,
        functions,
        source if workers_need_it else None,
        _warn(source.name, lacking, _slips(names)),
        errors=tuple(errors),
    )


# -- running it -----------------------------------------------------------------------------------


def _execute(source: ConfigSource) -> tuple[ModuleType, str]:
    path = os.path.join(source.folder, source.name)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"-c {source.name}: {error.strerror}") from None
    except ValueError:  # a NUL in the path
        raise UsageError(f"-c {source.name}: not a path") from None
    module = ModuleType("__config__")
    module.__file__ = path
    # where a dataclass, a pickle or a type annotation looks for the module that it was defined in
    sys.modules["__config__"] = module
    try:
        exec(compile(data, path, "exec"), vars(module))
    except (Exception, SystemExit) as error:
        raise _failure(source, error) from error
    return module, data.decode("utf-8", "replace")


def _import(source: ConfigSource) -> tuple[ModuleType, str]:
    name = source.module or ""
    if source.folder not in sys.path:
        sys.path.insert(0, source.folder)
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"-c {source.name}: not the name of a module")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"-c {source.name}: there is no module {error.name}") from None
        raise _failure(source, error) from error
    except (Exception, SystemExit) as error:
        raise _failure(source, error) from error
    with suppress(OSError):
        return module, Path(module.__file__ or "").read_text("utf-8", "replace")
    return module, ""


def _failure(source: ConfigSource, error: BaseException) -> UsageError:
    sentence, details = explain(error)
    return UsageError(f"-c {source.name}: {sentence}", details)


# -- what it says ---------------------------------------------------------------------------------


def _given(
    origin: Origin, setting: str, value: object, *, shown: object, errors: list[UsageError]
) -> Given:
    kind = SETTINGS[setting].kind
    items = list(value) if kind.many and isinstance(value, list | tuple) else [value]
    texts = tuple(_text(item, kind) for item in items)
    given = Given(setting, origin, _show(shown), tuple(one for one in texts if one is not None))
    # an empty list of anything but addresses is no mistake: there are none
    if None in texts or (not texts and setting == "bind"):
        errors.append(UsageError(f"{given}: must be {kind.wants}"))
        return dataclasses.replace(given, broken=True)
    return given


def _is_a_table(name: str, value: object) -> bool:
    """What a TOML file has of this name; here it is a variable of the file's own."""
    return name in TABLES and isinstance(value, dict | list)


def _text(value: object, kind: Kind) -> str | None:
    """The text that a kind's parser gets; None when the type is wrong."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    # bool is an int to isinstance()
    if type(value) not in kind.toml:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    # never 1e-05
    return f"{value:.9f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _warn(file: str, lacking: list[str], slips: Mapping[str, str]) -> str | None:
    parts = []
    if lacking:
        parts.append(f"no effect here: {', '.join(sorted(lacking))}")
    if slips:
        meant = ", ".join(f"{name} (did you mean {close}?)" for name, close in slips.items())
        parts.append(f"no setting: {meant}")
    return f"-c {file}: {'; '.join(parts)}" if parts else None


def _slips(names: Mapping[str, Any]) -> dict[str, str]:
    """Names of values that are all but a setting's, or all but a hook's, and which."""
    slips = {}
    for name, value in names.items():
        if isinstance(value, type | ModuleType) or name in HOOKS or name in LACKING:
            continue
        if translate(name, value) is None:
            words: Iterable[str] = HOOKS if callable(value) else SETTINGS
            if close := difflib.get_close_matches(name, words, n=1, cutoff=CLOSE):
                slips[name] = close[0]
    return slips


def _lines(text: str) -> dict[str, int]:
    """The line that sets each top-level name last."""
    lines: dict[str, int] = {}
    with suppress(SyntaxError, ValueError):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                lines[node.id] = max(node.lineno, lines.get(node.id, 0))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines[node.name] = max(node.lineno, lines.get(node.name, 0))
    return lines


def _place(file: str, line: int | None) -> str:
    return f"{file}:{line}: " if line else f"{file}: "
