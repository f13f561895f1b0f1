"""The reference page of all settings, made from their table.

``python -m balancer.settings.reference`` writes ``REFERENCE.md`` beside this module; a test holds
the page against the table.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from balancer.settings.table import OF_APPS, OF_POOLS, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from balancer.settings.table import Setting

__all__ = ["COMMAND", "PAGE", "make_page"]

PAGE = Path(__file__).with_name("REFERENCE.md")
COMMAND = "python -m balancer.settings.reference"

_TOP = f"""\
<!-- made by `{COMMAND}` from table.py: don't edit -->

# Settings

Every setting is a flag, a key of the file, and a variable. A flag beats a variable, a variable
beats the top level of the file, and what a table of the file says of one app or one pool of
upstreams beats them all. `balancer check` says what is wrong with them, `balancer config` which
hold and who gave them.

- **Key**: at the top level of a TOML file. *Tables*: where it may also stand, for one app
  (`[{OF_APPS}.NAME]`) or one pool (`[{OF_POOLS}.NAME]`).
- **TIME** is `30`, `30s`, `250ms` or `1h30m`; **SIZE** is `65536`, `64KiB` or `8MiB`. In a file
  both may be numbers, seconds and bytes.
- *Another value is taken up* after `balancer reload`, which reads everything again: by the next
  workers, which it starts; by the master, at once; or not before the next start or upgrade.
- A flag without a value is `true` or `false` in a file and in a variable.
- *several*: the flag may be repeated; a file has a list, a variable has commas between them
  (blanks, where a value may have commas itself).
"""


def make_page() -> str:
    """The whole page, with a newline at its end."""
    parts = [_TOP]
    for group, settings in groupby(_in_groups(), lambda setting: setting.group):
        parts.append(f"## {group}\n")
        parts.append(_row(title for title, _ in COLUMNS))
        parts.append(_row("---" for _ in COLUMNS))
        parts += [_row(cell(setting) for _, cell in COLUMNS) for setting in settings]
        parts.append("")
    return "\n".join(parts)


def _in_groups() -> list[Setting]:
    """By group, in the order in which the groups begin: a group may be in several places."""
    groups = list(dict.fromkeys(setting.group for setting in SETTINGS.values()))
    return sorted(SETTINGS.values(), key=lambda setting: groups.index(setting.group))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _flags(setting: Setting) -> str:
    if setting.positional:
        return f"*{setting.flag}*"
    value = f" {setting.kind.metavar}" if setting.kind.metavar else ""
    own = [flag for flag in (setting.short, setting.flag) if flag]
    aliases = [f"{alias.flag} {alias.metavar}".strip() for alias in setting.aliases]
    also = f"; also {_code(aliases)}" if aliases else ""
    return f"{_code([*own[:-1], own[-1] + value])}{also}"


def _type(setting: Setting) -> str:
    kind = setting.kind
    word = kind.metavar or "true or false"
    return f"{word}, several" if kind.many else word


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _escape(text: str) -> str:
    """What a cell of a table can't hold."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _default(setting: Setting) -> str:
    return f"`{setting.default}`" if setting.default else ""


COLUMNS: list[tuple[str, Callable[[Setting], str]]] = [
    ("Flag", _flags),
    ("Key", lambda setting: f"`{setting.name}`"),
    ("Variable", lambda setting: _code(setting.variables)),
    ("Type", _type),
    ("Default", _default),
    ("What it does", lambda setting: _escape(setting.help)),
    ("Tables", lambda setting: _code(setting.tables)),
    ("Another value is taken up", lambda setting: setting.taken.value),
]
"""What is said of each setting; a further attribute of the table of settings is a further row."""


if __name__ == "__main__":
    PAGE.write_text(make_page())
