"""What a server serves: one app or pool as the settings themselves say it, or several by name."""

from __future__ import annotations

from balancer.settings.table import Service, Settings

__all__ = ["pools", "served"]


def served(settings: Settings) -> tuple[Service, ...]:
    """All apps and pools; where there are no tables of them it is one, without a name."""
    return settings.services or (Service("", settings),)


def pools(settings: Settings) -> tuple[Service, ...]:
    """Those that are pools."""
    return tuple(each for each in served(settings) if each.settings.upstreams)
