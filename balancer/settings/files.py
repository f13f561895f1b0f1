"""``-c``: a TOML file, or Python, which is read elsewhere.

In TOML every setting is a top-level key, named as in the table.

An unknown key is an error, because the alternative is a server that silently ignores a limit; so
is a value of another type, because ``workers = true`` is nobody's intention.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from balancer.errors import UsageError
from balancer.settings.origin import Given, Origin, Rank
from balancer.settings.source import MODULE, Config, ConfigSource
from balancer.settings.table import SETTINGS

if TYPE_CHECKING:
    from balancer.settings.kinds import Kind

__all__ = ["read_file", "suggestion", "text_of"]


def read_file(file: str) -> Config:
    """What a TOML file, a Python file or ``python:module`` says, its settings unparsed.

    Raises:
        UsageError: it can't be read, isn't what its name says, or has a key or a type that no
            setting has; also as ``read_python``.
    """
    if file.endswith(".py") or file.startswith(MODULE):
        from balancer.settings.python import read_python

        return read_python(ConfigSource(file, os.getcwd()))
    if not file.endswith(".toml"):
        raise UsageError(f"-c {file}: only .toml and .py files and python:MODULE can be read")
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"-c {file}: {error.strerror}") from None
    except ValueError:
        # a NUL in the path, or not UTF-8
        raise UsageError(f"-c {file}: not a text file") from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"-c {file}: {error}") from None
    return Config([_given(file, text, key, value) for key, value in table.items()])


def _given(file: str, text: str, key: str, value: object) -> Given:
    origin = Origin(Rank.FILE, key, file, _line(text, key))
    if key not in SETTINGS:
        raise UsageError(f"{origin}: unknown key{suggestion(key)}")
    kind, shown = SETTINGS[key].kind, _show(value)
    items = value if kind.many and isinstance(value, list) else [value]
    texts = tuple(text_of(item, kind) for item in items)
    given = Given(key, origin, shown, tuple(one for one in texts if one is not None))
    if None in texts or not texts:
        raise UsageError(f"{given}: must be {kind.wants}")
    return given


def text_of(value: object, kind: Kind) -> str | None:
    """The text that a kind's parser gets; None when the type is wrong."""
    # bool is an int to isinstance()
    if type(value) not in kind.toml:
        return None
    if isinstance(value, float):
        # never 1e-05
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return _show(value) if isinstance(value, bool) else str(value)


def _show(value: object) -> str:
    """A value roughly as TOML writes it, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, list):
        return f"[{', '.join(_show(item) for item in value)}]"
    return "{…}" if isinstance(value, dict) else str(value)


def _line(text: str, key: str) -> int | None:
    """The line that sets a top-level key or opens its table; tomllib doesn't tell."""
    name = rf"""["']?{re.escape(key)}["']?"""
    match = re.search(
        rf"^[ \t]*(?:{name}[ \t]*[=.]|\[+[ \t]*{name}[ \t]*[\].])", text, re.MULTILINE
    )
    return text.count("\n", 0, match.start()) + 1 if match else None


def suggestion(key: str) -> str:
    wanted = key.lower().replace("-", "_")
    close = difflib.get_close_matches(wanted, SETTINGS, n=1)
    return f"; did you mean {close[0]}?" if close else ""
