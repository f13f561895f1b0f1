"""From what somebody wrote to values: every source's texts go through the settings' parsers."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from balancer.errors import UsageError
from balancer.settings.table import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balancer.settings.origin import Given, Origin

__all__ = ["Values", "parse"]


@dataclass(frozen=True, slots=True)
class Values:
    """What sources say, the stronger over the weaker.

    Attributes:
        values: By setting.
        origins: Where each of them was given.
        broken: The settings of which some source says nonsense.
        errors: That nonsense.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    errors: list[UsageError] = field(default_factory=list)

    def add(self, source: Iterable[Given]) -> None:
        """A source that is stronger than those before."""
        for name, group in groupby(sorted(source, key=_name), _name):
            given = list(group)
            found = [value for one in given for value in self._parse(one)]
            self.origins[name] = given[-1].origin
            if name not in self.broken:
                # the last one counts, unless the setting is a list
                self.values[name] = tuple(found) if SETTINGS[name].kind.many else found[-1]

    def _parse(self, given: Given) -> list[Any]:
        if given.broken:
            self.broken.add(given.setting)
            return []
        values = []
        for part in given.parts or (given,):
            try:
                values += parse(part)
            except ValueError as error:
                self.broken.add(given.setting)
                self.errors.append(UsageError(f"{part}: {error}"))
        return values


def parse(given: Given) -> list[Any]:
    """The values of one text, or of several.

    Raises:
        ValueError: the rest of the sentence.
    """
    kind = SETTINGS[given.setting].kind
    texts = [part for text in given.texts for part in (text.split(",") if kind.commas else [text])]
    return [kind.parse(text) for text in texts]


def _name(given: Given) -> str:
    return given.setting
