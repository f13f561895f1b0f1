"""When a changed setting is taken up by a server that runs."""

from __future__ import annotations

from enum import Enum

__all__ = ["Taken"]


class Taken(Enum):
    """What a reload does about a setting; the values are those of the reference page."""

    BY_WORKERS = "by the next workers"  # which a reload starts
    AT_ONCE = "at once"  # by the master, as soon as a worker of the new configuration is ready
    AT_START = "at the next start or upgrade"
