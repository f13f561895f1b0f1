"""The line of every key of a TOML document, which ``tomllib`` doesn't tell.

No library that keeps lines is kept up and small at once (``tomlkit`` has the whole of the text, but
tells no positions), and the hard part of a parser is not needed: the text has been read by
``tomllib`` already, so it *is* TOML, and what remains is to see where strings, comments and
brackets begin and end.

The paths found are those of the document that ``tomllib`` makes of the same text, neither more nor
fewer; a test with hypothesis holds the two against each other.
"""

from __future__ import annotations

import re
import tomllib
from typing import final

__all__ = ["Path", "find_lines", "show_path"]

Path = tuple[str | int, ...]
"""Keys, and indices of arrays: ``("pools", "api", "upstreams", 1)``."""

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"""(?:""(?!")|"(?!"))?'  # up to two quotes may stand before the end
    r"|'''(?:[^']|'(?!''))*'''(?:''(?!')|'(?!'))?"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\n#]+")


def find_lines(text: str) -> dict[Path, int]:
    """The line, from 1, in which each key, and each item of an array, begins.

    ``text`` is valid TOML with ``\\n`` for line ends.  A table has the line of its first header, or
    of the first key that makes it.
    """
    return _Scanner(text).scan()


def show_path(path: Path) -> str:
    """``pools.api.upstreams[1]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


@final
class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted = 0  # up to here, lines have been counted
        self._line = 1
        self._lines: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}  # arrays of tables, and their last index

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)
        return self._lines

    # -- tables -----------------------------------------------------------------------------------

    def _header(self) -> Path:
        line, several = self._here(), self._text.startswith("[[", self._at)
        self._at += 2 if several else 1
        keys = self._key()
        self._at += 2 if several else 1
        table = self._resolve((), keys[:-1], line) + keys[-1:]
        if several:
            self._lines.setdefault(table, line)
            index = self._arrays[table] = self._arrays.get(table, -1) + 1
            table += (index,)
        self._lines.setdefault(table, line)
        return table

    def _resolve(self, table: Path, keys: tuple[str, ...], line: int) -> Path:
        """The table that some keys lead to; in an array of tables that is the last one."""
        for key in keys:
            table = self._enter((*table, key))
            self._lines.setdefault(table, line)
        return table

    def _enter(self, table: Path) -> Path:
        return (*table, self._arrays[table]) if table in self._arrays else table

    # -- keys and values --------------------------------------------------------------------------

    def _pair(self, table: Path) -> None:
        line = self._here()
        keys = self._key()
        self._at += 1  # the equals sign
        path = (*self._resolve(table, keys[:-1], line), keys[-1])
        self._lines.setdefault(path, line)
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> tuple[str, ...]:
        """A dotted key, and the blanks around it."""
        keys = []
        while True:
            self._skip(_SPACE)
            bare = self._skip(_BARE_KEY)
            keys.append(bare or _unquote(self._skip(_STRING)))
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return tuple(keys)
            self._at += 1

    def _value(self, path: Path) -> None:
        first = self._text[self._at]
        if first in "\"'":
            self._skip(_STRING)
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(_SCALAR)

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while not self._ends("]"):
            item = (*path, index)
            self._lines[item] = self._here()
            self._value(item)
            index += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while not self._ends("}"):
            self._pair(path)

    def _ends(self, bracket: str) -> bool:
        """Go to the next item, or behind the closing bracket."""
        self._skip(_BLANK)
        if self._text[self._at] == ",":
            self._at += 1
            self._skip(_BLANK)
        if self._text[self._at] != bracket:
            return False
        self._at += 1
        return True

    # -- the text ---------------------------------------------------------------------------------

    def _skip(self, what: re.Pattern[str]) -> str:
        match = what.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line


def _unquote(key: str) -> str:
    text: str = tomllib.loads(f"key = {key}")["key"]
    return text
