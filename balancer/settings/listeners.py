"""Which service is served where: the ``[[listeners]]`` of a file.

Several services need them; a single one is served where ``bind`` says.  A table that no listener
names is an error and no warning: it is a slip in a name, or what somebody forgot to take out, and
either way somebody believes that it is served.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from balancer.errors import UsageError
from balancer.settings.binds import Bind, TcpBind
from balancer.settings.origin import Origin, Rank
from balancer.settings.parse import parse
from balancer.settings.suggest import suggestion
from balancer.settings.table import OF_APPS, OF_POOLS, Service

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from balancer.settings.origin import Given
    from balancer.settings.source import Config, Listener, Table
    from balancer.settings.table import Settings

__all__ = ["ONE", "assign_binds"]

ONE = {OF_APPS: "app", OF_POOLS: "pool"}
"""The key of a listener for each kind of table."""


class _Place(NamedTuple):
    """One bind, the index of what is served there, and who said so."""

    bind: Bind
    service: int
    origin: Origin | None


def assign_binds(
    top: Settings, services: Sequence[Service], config: Config, errors: list[UsageError]
) -> Settings:
    """Settings that have the services, and the binds of all of them; each service has its own."""
    tables, listeners = config.tables, config.listeners
    found: list[_Place] = []
    if listeners:
        found = _listen(tables, listeners, errors)
        errors += map(UsageError, _refuse(top, listeners[0]))
        # one of many places, so the file alone
        origins = {**top.origins, "bind": Origin(Rank.FILE, "listeners", listeners[0].origin.file)}
        top = dataclasses.replace(top, bind=tuple(place.bind for place in found), origins=origins)
        services = [_own(index, each, found) for index, each in enumerate(services)]
    elif len(services) == 1:
        found = [_Place(bind, 0, top.origins.get("bind")) for bind in top.bind]
    else:
        errors.append(UsageError(_ask_for_listeners(tables)))
    served = tuple(place.service for place in found)
    return dataclasses.replace(top, services=tuple(services), service_of_bind=served)


def _own(index: int, service: Service, places: Sequence[_Place]) -> Service:
    """A service with its own binds."""
    own = [place for place in places if place.service == index]
    origins = dict(service.settings.origins)
    if own and own[0].origin is not None:
        origins["bind"] = own[0].origin
    settings = dataclasses.replace(
        service.settings, bind=tuple(place.bind for place in own), origins=origins
    )
    return Service(service.name, settings)


def _refuse(top: Settings, first: Listener) -> Iterator[str]:
    origin = top.origins.get("bind")
    if origin is not None and origin.rank is not Rank.DEFAULT:
        shown = " ".join(map(str, top.bind))
        yield (
            f"{origin} {shown}: can't stand beside {first.origin}, which says where to listen and "
            "what is served there"
        )


def _ask_for_listeners(tables: Sequence[Table]) -> str:
    first = tables[0]
    return (
        f"{first.origin}: is one of {len(tables)} apps and pools, and nothing says where each is "
        f'served; add [[listeners]] with bind = "ADDRESS" and {ONE[first.kind]} = "{first.name}"'
    )


def _listen(
    tables: Sequence[Table], listeners: Sequence[Listener], errors: list[UsageError]
) -> list[_Place]:
    """Where all of them listen; -1 is served where that can't be known."""
    found: list[_Place] = []
    served: set[int] = set()
    sure = not any(each.broken for each in listeners)
    for listener in listeners:
        index = -1
        try:
            index = -1 if listener.broken else _find(tables, listener)
        except ValueError as error:
            errors.append(UsageError(str(error)))
            sure = False
        served.add(index)
        for bind, part in _binds(listener, errors):
            if _is_taken(bind, [place.bind for place in found]):
                errors.append(UsageError(f"{part}: is given twice"))
            found.append(_Place(bind, index, part.origin))
    idle = [table for index, table in enumerate(tables) if index not in served]
    if sure:
        errors += [UsageError(_is_idle(table)) for table in idle]
    return found


def _is_idle(table: Table) -> str:
    return (
        f"{table.origin}: no listener serves it; name it in one, "
        f'{ONE[table.kind]} = "{table.name}", or take it out'
    )


def _find(tables: Sequence[Table], listener: Listener) -> int:
    """The index of the table that a listener names; ValueError when there is none."""
    if listener.service is None:
        if len(tables) == 1:
            return 0
        raise ValueError(
            f'{listener.origin}: says not what it serves; add app = "NAME" or pool = "NAME"'
        )
    kind, name, given = listener.service
    for index, table in enumerate(tables):
        if (table.kind, table.name) == (kind, name):
            return index
    for table in tables:
        if table.name == name:
            raise ValueError(
                f'{given}: {name} is one of the {table.kind}; write {ONE[table.kind]} = "{name}"'
            )
    names = [table.name for table in tables if table.kind == kind]
    raise ValueError(f"{given}: there is no table [{kind}.{name}]{suggestion(name, names)}")


def _binds(listener: Listener, errors: list[UsageError]) -> Iterator[tuple[Bind, Given]]:
    if listener.bind is None or listener.bind.broken:
        return
    for part in listener.bind.parts or (listener.bind,):
        try:
            for bind in parse(part):
                yield bind, part
        except ValueError as error:
            errors.append(UsageError(f"{part}: {error}"))


def _is_taken(bind: Bind, others: Sequence[Bind]) -> bool:
    # any number of listeners may let the kernel choose
    return bind in others and not (isinstance(bind, TcpBind) and bind.port == 0)
