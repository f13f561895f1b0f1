"""From the arguments of a call to settings and a plan."""

from __future__ import annotations

import dataclasses
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from balancer.cluster.apps import Server, name_of, this_program
from balancer.cluster.hooks import FINDER, names_of, read_hooks
from balancer.core.policy import KERNEL_POLICIES
from balancer.errors import UsageError
from balancer.hooks import Hooks
from balancer.settings.calls import read_arguments
from balancer.settings.environment import unknown_variables
from balancer.settings.files import read_file
from balancer.settings.load import load
from balancer.settings.source import ConfigSource
from balancer.settings.table import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from balancer.core.messages import Program
    from balancer.settings import Settings

__all__ = ["Assembly", "assemble", "check_env"]

logger = logging.getLogger("balancer")

OF_SERVERS = ("bind", "interface", "factory", "root_path")
"""What each of several servers says for itself."""
OF_APPS = ("app", "interface", "factory", "root_path")
"""The settings that hold for one of several apps."""
MAX_PASSED = 32 * 1024
"""Bytes; they travel in one packet, which has at most 64 KiB."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """What to serve, and how; the fields but the first are as in ``Plan``."""

    settings: Settings
    program: Program
    exclusive: frozenset[int] = frozenset()
    hooks: Hooks | None = None


def assemble(
    apps: Sequence[object],
    arguments: Mapping[str, object],
    *,
    caller: str | None,
    env: Mapping[str, str],
    hooks: object = None,
) -> Assembly:
    """What a call with these apps, or ``Server`` objects, settings and hooks means.

    Raises:
        UsageError: it makes no sense; the text names the argument.
    """
    functions = read_hooks(hooks)
    calls = names_of(functions, caller)
    servers = [each for each in apps if isinstance(each, Server)]
    if servers and len(servers) == len(apps):
        made = _several(servers, arguments, caller, env)
    else:
        made = _one(apps, arguments, caller, env)
    return _with_hooks(made, functions, calls) if functions else made


def _several(
    servers: Sequence[Server],
    arguments: Mapping[str, object],
    caller: str | None,
    env: Mapping[str, str],
) -> Assembly:
    for name in OF_SERVERS:
        if arguments.get(name) is not None:
            raise UsageError(f"{name}: is given in each Server(), not beside them")
    binds: list[str] = []
    service_of_bind: list[int] = []
    exclusive: set[int] = set()
    apps = []
    for index, server in enumerate(servers):
        apps.append(_server(server, caller))
        own = [server.bind] if isinstance(server.bind, str) else list(server.bind)
        if server.exclusive:
            exclusive.update(range(len(binds), len(binds) + len(own)))
        binds += own
        service_of_bind += [index] * len(own)
    settings, hooks = _load({**arguments, "app": apps[0].app, "bind": binds}, env)
    if settings.engine != "trio":
        raise UsageError(
            f"engine={settings.engine!r}: serves one app; several servers need the trio engine"
        )
    if exclusive and settings.policy in KERNEL_POLICIES:
        raise UsageError(
            f"policy={settings.policy!r}: the kernel gives no connections to one worker only; "
            "exclusive needs a policy that the master decides by, like round-robin"
        )
    program = _program([f"app {each.app}" for each in apps if each.app])
    services = tuple(
        Service(
            "", dataclasses.replace(settings, **{name: getattr(each, name) for name in OF_APPS})
        )
        for each in apps
    )
    settings = dataclasses.replace(
        settings, services=services, service_of_bind=tuple(service_of_bind)
    )
    return Assembly(settings, program, frozenset(exclusive), hooks)


def check_env(env: Mapping[str, str] | None) -> dict[str, str]:
    """Environment variables of a worker, or UsageError."""
    for name, value in (env or {}).items():
        if not all(isinstance(each, str) for each in (name, value)):
            raise UsageError(f"env {name!r}: names and values are strings")
        if not name or "=" in name or "\0" in name + value:
            raise UsageError(f"env {name!r}: no variable can have this name, or this value")
    if (size := len(msgspec.msgpack.encode(env or {}))) > MAX_PASSED:
        raise UsageError(
            f"env: {size} bytes are too many to pass to a worker (at most {MAX_PASSED})"
        )
    return dict(env or {})


def _with_hooks(
    made: Assembly,
    functions: Mapping[str, Callable[..., Any]],
    calls: tuple[tuple[str, str], ...],
) -> Assembly:
    """The same with hooks of the call, which go before those of a file."""
    made = dataclasses.replace(made, hooks=(made.hooks or Hooks()).override(functions))
    if not calls:
        return made
    source = made.settings.config or ConfigSource("", os.getcwd())
    source = dataclasses.replace(source, calls=calls, finder=FINDER)
    return dataclasses.replace(
        made,
        settings=dataclasses.replace(made.settings, config=source),
        program=_program([f"hook {name} {text}" for name, text in calls]),
    )


def _program(wanted: Sequence[str]) -> Program:
    program = this_program(wanted)
    if (size := len(msgspec.msgpack.encode(program))) > MAX_PASSED:
        raise UsageError(
            f"sys.path and sys.argv: {size} bytes are too many to pass to workers (at most "
            f"{MAX_PASSED}); shorten one of them before the call"
        )
    return program


def _one(
    apps: Sequence[object],
    arguments: Mapping[str, object],
    caller: str | None,
    env: Mapping[str, str],
) -> Assembly:
    if len(apps) > 1:
        raise UsageError("several apps: give each its address, as balancer.Server(app, bind=…)")
    name = None if not apps or apps[0] is None else name_of(apps[0], caller)
    settings, hooks = _load({**arguments, "app": name}, env)
    return Assembly(settings, _program([f"app {name}"] if name else []), hooks=hooks)


def _server(server: Server, caller: str | None) -> Settings:
    """What a server says for itself, read as settings, for what is wrong with it."""
    name = None if server.app is None else name_of(server.app, caller)
    return load(
        read_arguments(
            {
                "app": name,
                "interface": server.interface,
                "factory": server.factory,
                "root_path": server.root_path,
            }
        )
    )


def _load(arguments: Mapping[str, object], env: Mapping[str, str]) -> tuple[Settings, Hooks | None]:
    """Settings from everywhere, and the master's hooks where a file was named."""
    workers = arguments.get("workers")
    # none at all is for programs that fork by themselves; on a command line it would be a mistake
    none = workers == "0" or (type(workers) is int and workers == 0)
    given = {name: value for name, value in arguments.items() if name != "workers" or not none}
    file = given.pop("config", None)
    if not isinstance(file, str | None):
        raise UsageError(f"config={file!r}: must be the name of a file")
    config = None if file is None else read_file(file)
    settings = load(read_arguments(given), file=config, env=env)
    for text in unknown_variables(env):
        logger.warning(text)
    if config is not None and config.warning is not None:
        logger.warning(config.warning)
    if none:
        settings = dataclasses.replace(settings, workers=0)
    return settings, None if config is None else Hooks(config.functions)
