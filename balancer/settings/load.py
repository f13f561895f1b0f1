"""From flags, environment and file to ``Settings``: default < file < environment < flag.

Everything is read first, into ``Given``, and then each setting's strongest value is parsed.  A
weaker value is parsed too, and thrown away: a broken line in a file is an error even where a flag
overrides it today.  ``PORT`` is no value of ``bind`` but changes its default, as in gunicorn: a
platform sets it without knowing what the program was told.
"""

from __future__ import annotations

import dataclasses
from itertools import groupby
from typing import TYPE_CHECKING, Any

from balancer.errors import UsageError
from balancer.settings.binds import ANY, DEFAULT_BIND, TcpBind, parse_bind
from balancer.settings.engine import check_engine
from balancer.settings.hostport import join_host_port
from balancer.settings.origin import Given, Origin, Rank
from balancer.settings.policy import WEIGHED, parse_own
from balancer.settings.proxy import check_proxy
from balancer.settings.source import Config
from balancer.settings.table import SETTINGS, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["flag_given", "load"]


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
    env = env or {}
    default_bind = _default_bind(env)
    config = _from_file(file) if isinstance(file, str) else file or Config([])
    sources = [
        config.given,
        _from_env(env),
        _join_host_and_port(flags, default_bind),
    ]
    values: dict[str, Any] = {"bind": (default_bind,)}
    origins: dict[str, Origin] = {}
    for source in sources:
        for name, given in groupby(sorted(source, key=lambda one: one.setting), _name):
            values[name], origins[name] = _read(name, list(given))
    settings = Settings(**values, config=config.source, origins=origins)
    return _check(settings)


def flag_given(setting: str, flag: str, value: str, text: str) -> Given:
    """What a flag said; ``text`` is the setting's own spelling of ``value``."""
    return Given(setting, Origin(Rank.FLAG, flag), value, (text,))


def _name(given: Given) -> str:
    return given.setting


def _read(name: str, given: list[Given]) -> tuple[Any, Origin]:
    """One source's value of one setting; the last one counts, unless the setting is a list."""
    values = [value for one in given for value in _parse(one)]
    return (tuple(values) if SETTINGS[name].kind.many else values[-1]), given[-1].origin


def _parse(given: Given) -> list[Any]:
    kind = SETTINGS[given.setting].kind
    texts = [part for text in given.texts for part in (text.split(",") if kind.commas else [text])]
    try:
        return [kind.parse(text) for text in texts]
    except ValueError as error:
        raise UsageError(f"{given}: {error}") from None


def _from_file(file: str) -> Config:
    # tomllib and difflib are for those who have a file
    from balancer.settings.files import read_file

    return read_file(file)


def _from_env(env: Mapping[str, str]) -> list[Given]:
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


def _default_bind(env: Mapping[str, str]) -> TcpBind:
    port = env.get("PORT", "")
    if not port:
        return DEFAULT_BIND
    try:
        bind = parse_bind(f"{ANY}:{port}")
    except ValueError as error:
        raise UsageError(f"PORT={port}: {error}") from None
    assert isinstance(bind, TcpBind)
    return bind


def _join_host_and_port(flags: Iterable[Given], default: TcpBind) -> list[Given]:
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
            raise UsageError(f"{half}: can't stand beside {given}; write -b HOST:PORT")
    host = halves["--host"].shown if "--host" in halves else DEFAULT_BIND.host
    port = halves["--port"].shown if "--port" in halves else str(default.port)
    return [*others, dataclasses.replace(half, texts=(join_host_port(host, port),))]


def _check(settings: Settings) -> Settings:
    """Values that contradict each other, where the user would be hurt by either reading."""
    origins = settings.origins
    if settings.max_requests_jitter and not settings.max_requests:
        raise UsageError(
            f"{settings.where('max_requests_jitter')} {settings.max_requests_jitter}: "
            "has no effect without --max-requests"
        )
    if (
        "limit_request_line" in origins
        and settings.limit_request_line > settings.limit_request_head
    ):
        raise UsageError(
            f"{settings.where('limit_request_line')} {settings.limit_request_line}: is more than "
            f"--limit-request-head {settings.limit_request_head}; raise that too"
        )
    for index, bind in enumerate(settings.bind):
        if bind in settings.bind[:index] and not (isinstance(bind, TcpBind) and bind.port == 0):
            raise UsageError(f"{settings.where('bind')} {bind}: is given twice")
    _check_weights(settings)
    check_engine(settings)
    check_proxy(settings)
    return _settle_control(settings)


def _check_weights(settings: Settings) -> None:
    policy, weights = settings.policy, settings.worker_weights
    if set(weights) - {1} and policy not in WEIGHED and parse_own(policy) is None:
        shown = ",".join(map(str, weights))
        raise UsageError(
            f"{settings.where('worker_weights')} {shown}: has no effect with --policy {policy}; "
            f"those that go by weight are {', '.join(sorted(WEIGHED))}"
        )


def _settle_control(settings: Settings) -> Settings:
    """``--control`` against ``--no-control``: the stronger source wins, a tie is an error."""
    if settings.control is None or not settings.no_control:
        return settings
    path, off = settings.origins["control"], settings.origins["no_control"]
    if path.rank == off.rank:
        raise UsageError(f"{off}: contradicts {path} {settings.control}; give one of them")
    if path.rank > off.rank:
        return dataclasses.replace(settings, no_control=False)
    return dataclasses.replace(settings, control=None)
