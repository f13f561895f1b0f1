"""What a reload has to do: two readings of the configuration, and how they differ."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from balancer.settings.table import SETTINGS
from balancer.settings.taken import Taken

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balancer.settings.table import Settings

__all__ = ["Change", "compare", "keep"]


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that has another value.

    Attributes:
        name: The setting's.
        old: Its value before.
        new: Its value now.
        where: Where that is said, as a user would find it.
        taken: When it is taken up.
    """

    name: str
    old: Any
    new: Any
    where: str
    taken: Taken

    def __str__(self) -> str:
        return f"{self.name} ({_show(self.name, self.old)} → {_show(self.name, self.new)})"

    @property
    def warning(self) -> str:
        """What to say of one that can't be taken up now, and what to do."""
        return (
            f"{self.where} {_show(self.name, self.new)}: can't be changed while the server runs "
            f"and stays {_show(self.name, self.old)}; restart it, or balancer upgrade"
        )


def compare(old: Settings, new: Settings) -> list[Change]:
    """Every setting that has another value, in the order of the table."""
    return [
        Change(name, before, after, new.where(name), setting.taken)
        for name, setting in SETTINGS.items()
        if (before := getattr(old, name)) != (after := getattr(new, name))
    ]


def keep(old: Settings, new: Settings, changes: Iterable[Change]) -> Settings:
    """The new settings, with the old values of what can't be taken up yet."""
    late = {each.name: each.old for each in changes if each.taken is Taken.AT_START}
    origins = {name: origin for name, origin in new.origins.items() if name not in late}
    origins |= {name: origin for name, origin in old.origins.items() if name in late}
    return dataclasses.replace(new, **late, origins=origins)


def _show(name: str, value: object) -> str:
    """A value as a user would write it."""
    kind = SETTINGS[name].kind
    if isinstance(value, tuple):
        return " ".join(map(kind.show, value)) or "none"
    return "none" if value is None and kind.show is str else kind.show(value)
