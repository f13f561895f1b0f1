"""What settings can't stand together where there are upstreams: a sentence each, or None."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.settings.units import show_duration
from balancer.settings.upstream import check_upstreams, parse_upstream

if TYPE_CHECKING:
    from balancer.settings.table import Settings

__all__ = ["check_app", "check_ca", "check_engine", "check_request_timeout", "check_together"]


def check_app(settings: Settings) -> str | None:
    """One server has an app, or is a proxy."""
    if not settings.upstreams or settings.app is None:
        return None
    return (
        f"{settings.where('app')} {settings.app}: can't stand beside upstreams; serve an app, "
        f"or proxy to {settings.upstreams[0]}"
    )


def check_request_timeout(settings: Settings) -> str | None:
    """A proxy has clocks of its own."""
    if not settings.upstreams or not settings.request_timeout:
        return None
    return (
        f"{settings.where('request_timeout')} {show_duration(settings.request_timeout)}: "
        "is for apps; a proxy has --upstream-response-timeout"
    )


def check_engine(settings: Settings) -> str | None:
    """The other engine is for apps."""
    if not settings.upstreams or settings.engine == "trio":
        return None
    return f"{settings.where('engine')} {settings.engine}: is for apps, not for proxies"


def check_ca(settings: Settings) -> str | None:
    """Certificates are for servers that have one."""
    if not settings.upstreams or not settings.upstream_ca:
        return None
    if any(text.startswith("https:") for text in settings.upstreams):
        return None
    return (
        f"{settings.where('upstream_ca')} {settings.upstream_ca}: has no effect, since no "
        "upstream begins with https://"
    )


def check_together(settings: Settings) -> str | None:
    """The upstreams can all be there."""
    if not settings.upstreams:
        return None
    try:
        check_upstreams([parse_upstream(text) for text in settings.upstreams])
    except ValueError as error:
        return f"{settings.where('upstreams')} {error}"
    return None
