"""What settings can't stand together where there are upstreams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.errors import UsageError
from balancer.settings.units import show_duration
from balancer.settings.upstream import check_upstreams, parse_upstream

if TYPE_CHECKING:
    from balancer.settings.table import Settings

__all__ = ["check_proxy"]


def check_proxy(settings: Settings) -> None:
    """A proxy's settings; UsageError for what makes no sense together."""
    if not settings.upstreams:
        return
    if settings.app is not None:
        raise UsageError(
            f"{settings.where('app')} {settings.app}: can't stand beside upstreams; serve an app, "
            f"or proxy to {settings.upstreams[0]}"
        )
    if settings.request_timeout:
        raise UsageError(
            f"{settings.where('request_timeout')} {show_duration(settings.request_timeout)}: "
            "is for apps; a proxy has --upstream-response-timeout"
        )
    if settings.engine != "trio":
        where = settings.where("engine")
        raise UsageError(f"{where} {settings.engine}: is for apps, not for proxies")
    if settings.upstream_ca and not any(text.startswith("https:") for text in settings.upstreams):
        raise UsageError(
            f"{settings.where('upstream_ca')} {settings.upstream_ca}: has no effect, since no "
            "upstream begins with https://"
        )
    try:
        check_upstreams([parse_upstream(text) for text in settings.upstreams])
    except ValueError as error:
        raise UsageError(f"{settings.where('upstreams')} {error}") from None
