"""``balancer serve``, ``proxy`` and ``run``: settings from everywhere, then the master."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from balancer import log
from balancer.cli.options import CONFIG, SettingsCommand, given_flags
from balancer.errors import UsageError
from balancer.hooks import Hooks
from balancer.settings.environment import unknown_variables
from balancer.settings.load import load
from balancer.settings.source import MODULE
from balancer.settings.table import FOR_APPS_ONLY, UPSTREAM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balancer.settings.origin import Given
    from balancer.settings.source import Config
    from balancer.settings.table import Setting, Settings

__all__ = ["proxy", "run", "serve"]


def _starts(command: Callable[..., int]) -> Callable[..., int]:
    """The options of what starts a server, beside the settings."""
    for option in (
        click.option("--print-config", is_flag=True, help="Print all settings; start nothing."),
        click.option("--check-config", is_flag=True, help="As balancer check; start nothing."),
        CONFIG,
    ):
        command = option(command)
    return command


def _is_for_apps(setting: Setting) -> bool:
    return setting.group != UPSTREAM


def _is_for_proxies(setting: Setting) -> bool:
    return setting.name not in FOR_APPS_ONLY


def _is_a_flag(setting: Setting) -> bool:
    return not setting.positional


@click.command(cls=SettingsCommand, takes=_is_for_apps)
@_starts
@click.pass_context
def serve(context: click.Context, /, **own: Any) -> int:  # noqa: ANN401 - the options of _starts
    """Serve APP, or the demo app, in worker processes behind one fair master.

    Every option can also stand in the file (with underscores) and in the environment. A flag
    beats the environment, the environment beats the file. TIME is 30, 30s, 250ms or 1h30m; SIZE is
    65536, 64KiB or 8MiB.
    """
    return _start(context, _not_an_app, **own)


@click.command(cls=SettingsCommand, takes=_is_for_proxies)
@_starts
@click.pass_context
def proxy(context: click.Context, /, **own: Any) -> int:  # noqa: ANN401 - the options of _starts
    """Stand in front of HTTP servers: each UPSTREAM is HOST:PORT, http://HOST:PORT,
    https://HOST:PORT or unix:/PATH.

    Requests are spread over all of them, whoever is down gets none, and what is safe to repeat is
    repeated elsewhere. Every option can also stand in the file (with underscores) and in the
    environment; BALANCER_UPSTREAMS has blanks between several. TIME is 30, 30s, 250ms or 1h30m;
    SIZE is 65536, 64KiB or 8MiB.
    """
    return _start(context, _not_a_proxy, **own)


@click.command(cls=SettingsCommand, takes=_is_a_flag)
@_starts
@click.pass_context
def run(context: click.Context, /, **own: Any) -> int:  # noqa: ANN401 - the options of _starts
    """Serve what a file says: apps, pools of upstreams, and where each listens.

    Every option can also stand in the file (with underscores) and in the environment. A flag
    beats the environment, the environment beats the file; but what the file says in the table of
    one app or one pool holds for that one. TIME is 30, 30s, 250ms or 1h30m; SIZE is 65536, 64KiB
    or 8MiB.
    """
    if own["file"] is None:
        raise UsageError("run: name a file with -c, such as -c balancer.toml")
    return _start(context, _anything, **own)


def _not_an_app(settings: Settings) -> str | None:
    if settings.upstreams:
        where = settings.where("upstreams")
        return f"{where} {' '.join(settings.upstreams)}: is for another command: balancer proxy"
    return _has_tables(settings)


def _not_a_proxy(settings: Settings) -> str | None:
    if tables := _has_tables(settings):
        return tables
    if not settings.upstreams:
        return "UPSTREAM: name at least one server to stand in front of, such as 127.0.0.1:9000"
    return None


def _anything(_settings: Settings) -> None:
    pass


def _has_tables(settings: Settings) -> str | None:
    if not settings.services:
        return None
    names = ", ".join(each.name for each in settings.services)
    return f"-c: has tables ({names}), which are for another command: balancer run"


def _start(
    context: click.Context,
    refuse: Callable[[Settings], str | None],
    *,
    file: str | None,
    check_config: bool,
    print_config: bool,
) -> int:
    flags = given_flags(context)
    if check_config or print_config:
        from balancer.cli import check

        answer = check.print_config if print_config else check.check_config
        return answer(flags, file, refuse)
    read = partial(_load, flags, file, refuse)
    settings, config = read()
    _warn(settings, unknown_variables(os.environ))
    _warn_of(settings, config)
    # after the settings, so that a wrong flag is refused at once
    from balancer.forkserver.launch import forget

    _prepare(settings, config)
    try:
        from balancer.master.run import run

        code: int = run(settings, _hooks(config), read=partial(_load_again, read))
    finally:
        forget()
    return code


def _load(
    flags: Sequence[Given], file: str | None, refuse: Callable[[Settings], str | None]
) -> tuple[Settings, Config | None]:
    """Settings from everywhere, and what the file says beside them."""
    config = None if file is None else _read(file)
    settings = load(flags, file=config, env=os.environ)
    problem = refuse(settings)
    if problem is not None:
        raise UsageError(problem)
    return settings, config


def _load_again(
    read: Callable[[], tuple[Settings, Config | None]],
) -> tuple[Settings, Hooks | None]:
    """For a reload, in the master."""
    settings, config = read()
    _warn_of(settings, config)
    return settings, _hooks(config)


def _hooks(config: Config | None) -> Hooks | None:
    return None if config is None else Hooks(config.functions)


def _prepare(settings: Settings, config: Config | None) -> None:
    """Let the first fork server import while the master does.

    Not beside hooks, which may change what it inherits in more ways than can be looked at.
    """
    if config is not None and config.functions:
        return
    from balancer.forkserver.launch import prepare
    from balancer.master.budget import raise_limit

    raise_limit()
    variables = dict(each.partition("=")[::2] for each in settings.raw_env)
    prepare(settings.chdir, variables)


def _warn_of(settings: Settings, config: Config | None) -> None:
    if config is not None and config.warning is not None:
        _warn(settings, [config.warning])


def _warn(settings: Settings, warnings: Sequence[str]) -> None:
    if warnings:
        log.configure(settings.log_level)
    for warning in warnings:
        logging.getLogger("balancer").warning(warning)


def _read(file: str) -> Config:
    # tomllib is for those who have a file
    from balancer.settings.files import read_file

    module = file.removeprefix(MODULE) if file.startswith(MODULE) else ""
    before = sys.modules.pop(module, None)  # else a reload would get what it got before
    try:
        return read_file(file)
    except BaseException:  # whatever the file does, sys.exit() too: the old one is still in force
        if before is not None:
            sys.modules[module] = before
        raise
