"""The settings in force, for every part of the master: one object that all of them share.

Nobody keeps settings of its own: who needs one reads it here when it is needed, and a reload puts
another *edition* in force in one place.  An edition is what workers are born with, so each worker
has one, and while a reload tries its first worker there are two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from balancer.hooks import Hooks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balancer.settings import Settings

__all__ = ["Edition", "Live"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Edition:
    """What was read at one time, and what it led to.

    Attributes:
        settings: What was read.
        hooks: The master's, from the same place.
        lanes: The lanes that its workers know, each with the index of its bind.
    """

    settings: Settings
    hooks: Hooks = field(default_factory=Hooks)
    lanes: Mapping[int, int] = field(default_factory=dict)


@final
class Live:
    """The edition in force."""

    def __init__(self, settings: Settings, hooks: Hooks | None = None) -> None:
        self.edition = Edition(settings, hooks or Hooks())

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.edition.settings
