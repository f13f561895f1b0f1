"""The settings that hold and where each came from, for people and for programs.

The values of environment variables (``--env``) are left out: they are where people keep what
nobody else should read, and what is printed here ends in logs and bug reports.  No other setting
can hold a secret: an upstream has no password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from balancer.settings.kinds import VARIABLES
from balancer.settings.origin import Origin, Rank
from balancer.settings.table import OF_APPS, OF_POOLS, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balancer.settings.table import Service, Setting, Settings

__all__ = ["as_json", "as_text"]

DEFAULT = Origin(Rank.DEFAULT, "default")


def as_text(settings: Settings, *, everything: bool) -> str:
    """A section for the whole server and one for each service: name, value, source.

    Without ``everything`` only what somebody has set.
    """
    names = [name for name in SETTINGS if everything or name in settings.origins]
    if settings.services:  # which have their own
        names = [name for name in names if name not in {"app", "upstreams"}]
    sections = [("", settings, names)]
    for service in settings.services:
        own = [name for name in SETTINGS if everything or _is_own(name, service, settings)]
        title = f"[{_kind(service)}.{service.name}]"
        sections.append((title, service.settings, [name for name in own if _may(name, service)]))
    rows = [
        [(name, _show(SETTINGS[name], getattr(one, name)), _place(one, name)) for name in names]
        for _, one, names in sections
    ]
    widths = [max((len(row[at]) for part in rows for row in part), default=0) for at in (0, 1)]
    lines = []
    for (title, _, _), part in zip(sections, rows, strict=True):
        lines += ["", title] if title else []
        lines += [
            f"{name.ljust(widths[0])}  {value.ljust(min(widths[1], WIDE))}  {place}"
            for name, value, place in part
        ]
    return "\n".join(lines) or "nothing is set: every default holds (--all shows them)"


WIDE = 60
"""Columns; one list of servers shall not push every source out of sight."""


def as_json(settings: Settings) -> str:
    """One object: ``settings`` by name, and ``services``; durations are seconds, sizes bytes."""
    services = [
        {
            "name": each.name,
            "kind": _kind(each),
            "bind": [str(bind) for bind in each.settings.bind],
            "settings": _values(each.settings, [name for name in SETTINGS if _may(name, each)]),
        }
        for each in settings.services
    ]
    whole = {"settings": _values(settings, SETTINGS), "services": services}
    return msgspec.json.format(msgspec.json.encode(whole)).decode()


def _values(settings: Settings, names: Iterable[str]) -> dict[str, Any]:
    return {
        name: {
            "value": _plain(SETTINGS[name], getattr(settings, name)),
            "source": _source(settings.origins.get(name, DEFAULT)),
        }
        for name in names
    }


def _source(origin: Origin) -> dict[str, Any]:
    source: dict[str, Any] = {"from": origin.rank.name.lower(), "name": origin.name}
    return {**source, "file": origin.file, "line": origin.line} if origin.file else source


def _plain(setting: Setting, value: object) -> object:
    """As JSON has it."""
    if isinstance(value, tuple):
        return [_plain(setting, item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _show_item(setting, value)


def _show(setting: Setting, value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(_show_item(setting, item) for item in value) or "-"
    return "-" if value is None and setting.default != "off" else _show_item(setting, value)


def _show_item(setting: Setting, value: object) -> str:
    if setting.kind is VARIABLES:
        return f"{str(value).partition('=')[0]}=…"
    return "off" if value is None else setting.kind.show(value)


def _place(settings: Settings, name: str) -> str:
    origin = settings.origins.get(name, DEFAULT)
    if origin.rank is not Rank.FILE:
        return origin.name
    return f"{origin.file}:{origin.line}" if origin.line else origin.file


def _kind(service: Service) -> str:
    return OF_POOLS if service.settings.upstreams else OF_APPS


def _may(name: str, service: Service) -> bool:
    return name == "bind" or _kind(service) in SETTINGS[name].tables


def _is_own(name: str, service: Service, settings: Settings) -> bool:
    """Whether it is not just what holds for all."""
    own = service.settings.origins.get(name)
    return name == "bind" or (own is not None and own != settings.origins.get(name))
