"""A TOML file: keys for all, tables for one app or one pool, and who listens where.

Every setting is a top-level key, named as in the table of settings.  What a flag can't say has a
table of its own::

    [apps.site]              # any number: what is served, and what holds for it alone
    app = "shop:app"

    [pools.api]              # any number: what is stood in front of
    upstreams = ["10.0.0.1:9000,weight=2", {address = "10.0.0.2:9000", backup = true}]

    [[listeners]]            # any number: who is served where
    bind = ["0.0.0.0:80", "unix:/run/site.sock"]
    app = "site"

An unknown key is an error, because the alternative is a server that silently ignores a limit; so
is a value of another type, because ``workers = true`` is nobody's intention.  All that is wrong is
collected, each error with its line, for ``balancer check``.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from typing import TYPE_CHECKING, final

from balancer.errors import UsageError
from balancer.settings.lines import find_lines, show_path
from balancer.settings.listeners import ONE
from balancer.settings.origin import Given, Origin, Rank
from balancer.settings.source import Config, Listener, Table
from balancer.settings.suggest import suggestion
from balancer.settings.table import SETTINGS
from balancer.settings.values import show_toml, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balancer.settings.kinds import Inline
    from balancer.settings.lines import Path

__all__ = ["read_toml"]

LISTENERS = "listeners"
_TYPES = {str: "a string", int: "a number", bool: "true or false"}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_SYNTAX = re.compile(r"(.*) \(at line (\d+), column (\d+)\)").fullmatch


def read_toml(file: str, text: str) -> Config:
    """What a TOML file says, its settings unparsed, and what is wrong with it.

    Raises:
        UsageError: it isn't TOML.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = _SYNTAX(str(error))
        if where is None:
            raise UsageError(f"-c {file}: not TOML: {error}") from None
        what, line, column = where.groups()
        raise UsageError(f"{file}:{line}: not TOML: {what} (column {column})") from None
    except RecursionError:
        raise UsageError(f"-c {file}: not TOML: nested too deeply") from None
    return _Reader(file, find_lines(text)).read(document)


@final
class _Reader:
    def __init__(self, file: str, lines: dict[Path, int]) -> None:
        self._file = file
        self._lines = lines
        self._errors: list[UsageError] = []

    def read(self, document: dict[str, object]) -> Config:
        given: list[Given] = []
        tables: list[Table] = []
        listeners: list[Listener] = []
        for key, value in document.items():
            if key in ONE:
                tables += self._tables(key, value)
            elif key == LISTENERS:
                listeners += self._listeners(value)
            elif key in SETTINGS:
                given.append(self._setting((key,), value))
            else:
                self._unknown((key,), [*SETTINGS, *ONE, LISTENERS])
        return Config(
            given, tables=tuple(tables), listeners=tuple(listeners), errors=tuple(self._errors)
        )

    # -- tables -----------------------------------------------------------------------------------

    def _tables(self, kind: str, value: object) -> list[Table]:
        if not isinstance(value, dict):
            self._wrong(self._given((kind,), value), f"must be tables with names: [{kind}.NAME]")
            return []
        return [self._table((kind, name), inner) for name, inner in value.items()]

    def _table(self, path: tuple[str, str], value: object) -> Table:
        kind, name = path
        if not _NAME(name):
            self._error(path, "a name has 1 to 64 letters, digits, - and _")
        given: list[Given] = []
        if not isinstance(value, dict):
            self._wrong(self._given(path, value), f"must be a table: [{kind}.{name}]")
            value = {}
        for key, inner in value.items():
            here = (*path, key)
            if key not in SETTINGS:
                known = [one.name for one in SETTINGS.values() if kind in one.tables]
                self._unknown(here, known)
            elif kind not in SETTINGS[key].tables:
                self._error(here, _misplaced(key))
            else:
                given.append(self._setting(here, inner))
        return Table(kind, name, self._origin(path), tuple(given))

    def _listeners(self, value: object) -> list[Listener]:
        if not isinstance(value, list):
            self._wrong(self._given((LISTENERS,), value), f"must be tables: [[{LISTENERS}]]")
            return []
        return [self._listener((LISTENERS, index), inner) for index, inner in enumerate(value)]

    def _listener(self, path: Path, value: object) -> Listener:
        if not isinstance(value, dict):
            self._wrong(self._given(path, value), f"must be a table: [[{LISTENERS}]]")
            return Listener(self._origin(path), None, None, broken=True)
        bind: Given | None = None
        services: list[tuple[str, str, Given]] = []
        kinds = {word: kind for kind, word in ONE.items()}
        broken = False
        for key, inner in value.items():
            here = (*path, key)
            if key == "bind":
                bind = self._setting(here, inner)
            elif key not in kinds:
                broken = True
                self._unknown(here, ["bind", *kinds])
            elif not isinstance(inner, str):
                broken = True
                given = self._given(here, inner)
                self._wrong(given, f"must be the name of one of the tables [{kinds[key]}.NAME]")
            else:
                services.append((kinds[key], inner, self._given(here, inner)))
        if "bind" not in value:
            self._error(path, 'says nowhere to listen; add bind = "ADDRESS"')
        if len(services) > 1:
            broken = True
            self._error(path, "serves an app or a pool, not both; give each a listener of its own")
        return Listener(self._origin(path), bind, services[0] if services else None, broken)

    # -- one setting ------------------------------------------------------------------------------

    def _setting(self, path: Path, value: object) -> Given:
        """What a key says; broken when that is of another type, which is noted."""
        name = str(path[-1])
        kind = SETTINGS[name].kind
        given = Given(name, self._origin(path), show_toml(value), ())
        before = len(self._errors)
        if kind.many and isinstance(value, list):
            parts = [self._item(given, (*path, index), item) for index, item in enumerate(value)]
            given = dataclasses.replace(given, parts=tuple(parts))
        else:
            parts = [self._item(given, path, value)]
        if not parts:
            self._wrong(given, f"must be {kind.wants}")
        texts = tuple(text for part in parts for text in part.texts)
        broken = len(self._errors) > before
        return dataclasses.replace(given, texts=texts, broken=broken)

    def _item(self, whole: Given, path: Path, value: object) -> Given:
        """The value itself, or one of a list; without a text when its type is wrong."""
        kind = SETTINGS[whole.setting].kind
        item = Given(whole.setting, self._origin(path), show_toml(value), ())
        if kind.inline is not None and isinstance(value, dict):
            text = self._inline(path, value, kind.inline)
        else:
            text = text_of(value, kind)
            if text is None:
                # what should be there is said of the whole, but in the line of the item
                line = dataclasses.replace(whole.origin, line=item.origin.line)
                self._wrong(dataclasses.replace(whole, origin=line), f"must be {kind.wants}")
        return item if text is None else dataclasses.replace(item, texts=(text,))

    def _inline(self, path: Path, table: dict[str, object], inline: Inline) -> str | None:
        """What a table says in place of a string; None when something is wrong, which is noted."""
        before = len(self._errors)
        for key, value in table.items():
            if key not in inline.keys:
                self._unknown((*path, key), inline.keys)
            elif type(value) is not inline.keys[key]:
                self._wrong(self._given((*path, key), value), f"must be {_TYPES[inline.keys[key]]}")
        if inline.needed not in table:
            self._error(path, f"has no {inline.needed}")
        if len(self._errors) > before:
            return None
        try:
            return inline.text(table)
        except ValueError as error:
            self._error(path, str(error))
            return None

    # -- what is wrong ----------------------------------------------------------------------------

    def _origin(self, path: Path) -> Origin:
        return Origin(Rank.FILE, show_path(path), self._file, self._lines.get(path))

    def _given(self, path: Path, value: object) -> Given:
        return Given(str(path[-1]), self._origin(path), show_toml(value), ())

    def _wrong(self, given: Given, problem: str) -> None:
        self._errors.append(UsageError(f"{given}: {problem}"))

    def _error(self, path: Path, problem: str) -> None:
        self._errors.append(UsageError(f"{self._origin(path)}: {problem}"))

    def _unknown(self, path: Path, words: Iterable[str]) -> None:
        self._error(path, f"unknown key{suggestion(str(path[-1]), words)}")


def _misplaced(key: str) -> str:
    tables = SETTINGS[key].tables
    if not tables:
        return "holds for the whole server; write it above the first table"
    return f"is for {' and '.join(tables)}, not for what this table is"
