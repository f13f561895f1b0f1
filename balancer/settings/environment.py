"""Settings in environment variables: ``BALANCER_…``, and those that other programs named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.errors import UsageError
from balancer.settings.binds import ANY, DEFAULT_BIND, TcpBind, parse_bind
from balancer.settings.origin import Given, Origin, Rank
from balancer.settings.suggest import closest
from balancer.settings.table import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["default_bind", "read_environment", "unknown_variables"]

PREFIX = "BALANCER_"
OURS = frozenset({"BALANCER_WORKER_ID", "BALANCER_WORKER_SLOT"})
"""What a worker is told, and so whoever is started by one."""
OURS_TOO = "BALANCER_UPGRADE"
"""What a master tells its successor begins with this."""


def read_environment(env: Mapping[str, str]) -> list[Given]:
    """The variables that are set; an empty one counts as unset, as compose files leave them."""
    found: list[Given] = []
    for setting in SETTINGS.values():
        for variable in setting.variables:
            if value := env.get(variable, ""):
                kind = setting.kind
                texts = tuple(value.split(kind.between)) if kind.many else (value,)
                found.append(Given(setting.name, Origin(Rank.ENV, variable), value, texts))
                break
    return found


def default_bind(env: Mapping[str, str]) -> TcpBind:
    """Where to listen when nobody says it.

    ``PORT`` is no value of ``bind`` but changes its default, as in gunicorn: a platform sets it
    without knowing what the program was told.

    Raises:
        UsageError: it is no port.
    """
    port = env.get("PORT", "")
    if not port:
        return DEFAULT_BIND
    try:
        bind = parse_bind(f"{ANY}:{port}")
    except ValueError as error:
        raise UsageError(f"PORT={port}: {error}") from None
    assert isinstance(bind, TcpBind)
    return bind


def unknown_variables(env: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that would be one of ours if it meant something.

    A warning and no error when a server starts: in one environment there may be several versions
    of us, and what an older one doesn't know yet is no reason to refuse.
    """
    known = [name for setting in SETTINGS.values() for name in setting.variables]
    unknown = [
        name
        for name, value in sorted(env.items())
        if name.startswith(PREFIX) and value and name not in OURS.union(known)
        if not name.startswith(OURS_TOO)
    ]
    return [f"{name}: there is no such setting{_hint(name)}" for name in unknown]


def _hint(variable: str) -> str:
    close = closest(variable.removeprefix(PREFIX), SETTINGS)
    return f"; did you mean {SETTINGS[close].variables[0]}?" if close else ""
