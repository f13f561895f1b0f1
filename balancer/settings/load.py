"""From flags, environment and file to ``Settings``: default < file < environment < flag.

Everything is read first, into ``Given``, and then each setting's strongest value is parsed.  A
weaker value is parsed too, and thrown away: a broken line in a file is an error even where a flag
overrides it today.  What a table of the file says for one app or one pool is above all of these:
see ``settings.services``.

Errors are collected, because who mends a file wants to see them all (``balancer check``); who
starts a server sees the first.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from balancer.errors import UsageError
from balancer.settings.binds import DEFAULT_BIND, TcpBind
from balancer.settings.checks import find_contradictions
from balancer.settings.environment import default_bind, read_environment
from balancer.settings.hostport import join_host_port
from balancer.settings.origin import Given, Origin, Rank
from balancer.settings.parse import Values
from balancer.settings.services import build_services
from balancer.settings.source import Config
from balancer.settings.table import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Examined", "examine", "flag_given", "load"]


@dataclass(frozen=True, slots=True)
class Examined:
    """What all sources say.

    Attributes:
        settings: Only good for use when there are no errors.
        errors: Every value that makes no sense, in the order file, environment, flags.
        config: What was found in the file.
    """

    settings: Settings
    errors: tuple[UsageError, ...]
    config: Config


def load(
    flags: Sequence[Given] = (),
    *,
    file: str | Config | None = None,
    env: Mapping[str, str] | None = None,
) -> Settings:
    """The settings that all sources together make.

    Args:
        flags: What the command line gave, in its order.
        file: A configuration file, when one was named, or what ``read_file`` has found in it.
        env: The environment.

    Raises:
        UsageError: the first value that makes no sense, with its place.
    """
    found = examine(flags, file=file, env=env)
    for error in found.errors:
        raise error
    return found.settings


def examine(
    flags: Sequence[Given] = (),
    *,
    file: str | Config | None = None,
    env: Mapping[str, str] | None = None,
) -> Examined:
    """As ``load``, with everything that is wrong."""
    env = env or {}
    errors: list[UsageError] = []
    config, unread = _read(file, errors)
    errors += config.errors
    values = Values(errors=errors)
    values.add(config.given)
    bind = _default_bind(env, values)
    values.add(read_environment(env))
    values.add(_join_host_and_port(flags, bind, values))
    settings = Settings(**values.values, config=config.source, origins=values.origins)
    built = build_services(settings, config)
    errors += built.errors
    if not unread:  # of which nobody knows what it would have said
        errors += find_contradictions(built.settings, values.broken, built.broken)
    return Examined(_settle_control(built.settings), tuple(errors), config)


def flag_given(setting: str, flag: str, value: str, text: str) -> Given:
    """What a flag said; ``text`` is the setting's own spelling of ``value``."""
    return Given(setting, Origin(Rank.FLAG, flag), value, (text,))


def _read(file: str | Config | None, errors: list[UsageError]) -> tuple[Config, bool]:
    """What a file says, and whether it couldn't be read."""
    if not isinstance(file, str):
        return file or Config([]), False
    # tomllib is for those who have a file
    from balancer.settings.files import read_file

    try:
        return read_file(file), False
    except UsageError as error:
        errors.append(error)
        return Config([]), True


def _default_bind(env: Mapping[str, str], values: Values) -> TcpBind:
    """Where to listen when nobody says it; it is a default, and so weaker than a file."""
    bind = DEFAULT_BIND
    try:
        bind = default_bind(env)
    except UsageError as error:
        values.errors.append(error)
        values.broken.add("bind")
    if "bind" not in values.origins:
        values.values["bind"] = (bind,)
        if env.get("PORT"):
            values.origins["bind"] = Origin(Rank.DEFAULT, "PORT")
    return bind


def _join_host_and_port(flags: Iterable[Given], default: TcpBind, values: Values) -> list[Given]:
    """uvicorn's two halves of an address, made one bind."""
    halves: dict[str, Given] = {}
    others: list[Given] = []
    for given in flags:
        if given.origin.name in {"--host", "--port"}:
            halves[given.origin.name] = given
        else:
            others.append(given)
    if not halves:
        return others
    half = list(halves.values())[-1]
    for given in others:
        if given.setting == "bind":
            text = f"{half}: can't stand beside {given}; write -b HOST:PORT"
            values.errors.append(UsageError(text))
            values.broken.add("bind")
            return others
    host = halves["--host"].shown if "--host" in halves else DEFAULT_BIND.host
    port = halves["--port"].shown if "--port" in halves else str(default.port)
    return [*others, dataclasses.replace(half, texts=(join_host_port(host, port),))]


def _settle_control(settings: Settings) -> Settings:
    """``--control`` against ``--no-control``: the stronger source wins (a tie is an error)."""
    if settings.control is None or not settings.no_control:
        return settings
    if settings.origins["control"].rank > settings.origins["no_control"].rank:
        return dataclasses.replace(settings, no_control=False)
    return dataclasses.replace(settings, control=None)
