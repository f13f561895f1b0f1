"""From the tables of a file to services: each app and each pool with everything that holds for it.

A setting of a table holds for this one service, and everything else says it for all: the top level
of the file, a variable, a flag.  So the table wins over all of them: default < top level of the
file < environment < flag < table.  Were it otherwise, ``--limit-request-body 1MiB``, or a variable
that somebody has set for the whole container, would undo what the file says of the one app that
takes uploads, and no flag could ever be right for two services that differ.

What is only for apps is not inherited by pools, nor the other way round; that a setting is for
nobody who is there is an error (``settings.checks``).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from balancer.errors import UsageError
from balancer.settings.listeners import assign_binds
from balancer.settings.parse import Values
from balancer.settings.table import OF_APPS, OF_POOLS, SETTINGS, Service, Settings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from balancer.settings.source import Config, Listener, Table

__all__ = ["Built", "build_services"]

NEEDED = {OF_APPS: ("app", 'app = "module:attr"'), OF_POOLS: ("upstreams", 'upstreams = ["…"]')}


@dataclasses.dataclass(slots=True)
class Built:
    """Settings with services, and for each of those the settings that couldn't be read."""

    settings: Settings
    broken: list[Collection[str]]
    errors: list[UsageError]


def build_services(top: Settings, config: Config) -> Built:
    """What a file's tables make of the settings that hold for all."""
    errors: list[UsageError] = []
    if not config.tables:
        errors += map(UsageError, _without_tables(config.listeners))
        return Built(top, [], errors)
    errors += map(UsageError, _refuse(top, config))
    services: list[Service] = []
    broken: list[Collection[str]] = []
    for table in config.tables:
        values = Values()
        values.add(table.given)
        errors += values.errors
        errors += map(UsageError, _lacking(table, values))
        services.append(_service(top, table, values, {each.kind for each in config.tables}))
        broken.append(values.broken)
    top = assign_binds(top, services, config, errors)
    return Built(top, broken, errors)


def _without_tables(listeners: Sequence[Listener]) -> Iterator[str]:
    for listener in listeners[:1]:
        yield (
            f"{listener.origin}: there is no [apps.NAME] and no [pools.NAME] to be served there; "
            "where there is none, bind = says where to listen"
        )


def _refuse(top: Settings, config: Config) -> Iterator[str]:
    """What can't stand beside tables."""
    first = config.tables[0].origin
    for name, kind in (("app", OF_APPS), ("upstreams", OF_POOLS)):
        value = getattr(top, name)
        if name in top.origins and value:
            shown = value if isinstance(value, str) else " ".join(value)
            yield (
                f"{top.where(name)} {shown}: can't stand beside {first}; "
                f"give it a table too: [{kind}.NAME]"
            )
    names: dict[str, Table] = {}
    for table in config.tables:
        other = names.setdefault(table.name, table)
        if other is not table:
            yield f"{table.origin}: has the name of {other.origin}; give it another"


def _lacking(table: Table, values: Values) -> Iterator[str]:
    name, example = NEEDED[table.kind]
    if not values.values.get(name) and name not in values.broken:
        yield f"{table.origin}: has no {name}; add {example}"


def _service(top: Settings, table: Table, values: Values, kinds: set[str]) -> Service:
    defaults = Settings()
    foreign = {
        name: getattr(defaults, name)
        for name, setting in SETTINGS.items()
        if name in {"app", "upstreams"}
        or (table.kind not in setting.tables and kinds.intersection(setting.tables))
    }
    origins = {name: origin for name, origin in top.origins.items() if name not in foreign}
    settings = dataclasses.replace(
        top, **{**foreign, **values.values}, origins={**origins, **values.origins}
    )
    return Service(table.name, settings)
