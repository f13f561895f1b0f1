"""``--engine uvicorn`` against the rest: what it can't serve, and which limits it doesn't have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.settings.app import Interface, parse_app

if TYPE_CHECKING:
    from balancer.settings.table import Settings

__all__ = ["check_engine", "unheard"]

TRIO_ONLY = (
    "body_timeout", "send_timeout", "limit_request_line", "limit_request_fields",
    "limit_request_body",
)  # fmt: skip


def check_engine(settings: Settings) -> str | None:
    """What can't work, found before any worker is forked.

    uvicorn isn't installed, or what is served isn't an app for it.
    """
    if settings.engine != "uvicorn":
        return None
    where = f"{settings.where('engine')} uvicorn"
    if settings.services:
        return f"{where}: serves one app; what stands in tables needs the trio engine"
    if settings.app is None:
        return f"{where}: needs an APP; the demo app is for the trio engine"
    interface = parse_app(settings.app).interface
    word = interface.value if interface else settings.interface
    if word not in {"auto", Interface.ASGI.value}:
        return f"{where}: serves ASGI apps, not {word}; leave it out"

    from importlib.util import find_spec

    if find_spec("uvicorn") is None:
        return f"{where}: uvicorn isn't installed; pip install 'balancer[uvicorn]'"
    return None


def unheard(settings: Settings) -> list[str]:
    """The settings that were given, and that the engine can't follow, as they were given."""
    if settings.engine != "uvicorn":
        return []
    return [settings.where(name) for name in TRIO_ONLY if name in settings.origins]
