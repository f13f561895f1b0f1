"""``balancer serve`` and ``balancer proxy``: settings from everywhere, then the master."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import click

from balancer import log
from balancer.cli.options import SettingsCommand, given_flags
from balancer.errors import UsageError
from balancer.hooks import Hooks
from balancer.settings.load import load
from balancer.settings.table import FOR_APPS_ONLY, UPSTREAM

if TYPE_CHECKING:
    from balancer.settings.source import Config
    from balancer.settings.table import Setting, Settings

__all__ = ["proxy", "serve"]


_FILE = click.option(
    "-c",
    "--config",
    "file",
    metavar="FILE",
    help="Read settings from FILE.toml, or with hooks from FILE.py or python:MODULE.",
)


def _is_for_apps(setting: Setting) -> bool:
    return setting.group != UPSTREAM


def _is_for_proxies(setting: Setting) -> bool:
    return setting.name not in FOR_APPS_ONLY


@click.command(cls=SettingsCommand, takes=_is_for_apps)
@_FILE
@click.pass_context
def serve(context: click.Context, file: str | None) -> int:
    """Serve APP, or the demo app, in worker processes behind one fair master.

    Every option can also stand in the file (with underscores) and in the environment. A flag
    beats the environment, the environment beats the file. TIME is 30, 30s, 250ms or 1h30m; SIZE is
    65536, 64KiB or 8MiB.
    """
    config = None if file is None else _read(file)
    settings = load(given_flags(context), file=config, env=os.environ)
    if settings.upstreams:
        where = settings.where("upstreams")
        raise UsageError(
            f"{where} {' '.join(settings.upstreams)}: is for another command: balancer proxy"
        )
    return _run(settings, config)


@click.command(cls=SettingsCommand, takes=_is_for_proxies)
@_FILE
@click.pass_context
def proxy(context: click.Context, file: str | None) -> int:
    """Stand in front of HTTP servers: each UPSTREAM is HOST:PORT, http://HOST:PORT,
    https://HOST:PORT or unix:/PATH.

    Requests are spread over all of them, whoever is down gets none, and what is safe to repeat is
    repeated elsewhere. Every option can also stand in the file (with underscores) and in the
    environment; BALANCER_UPSTREAMS has blanks between several. TIME is 30, 30s, 250ms or 1h30m;
    SIZE is 65536, 64KiB or 8MiB.
    """
    config = None if file is None else _read(file)
    settings = load(given_flags(context), file=config, env=os.environ)
    if not settings.upstreams:
        raise UsageError(
            "UPSTREAM: name at least one server to stand in front of, such as 127.0.0.1:9000"
        )
    return _run(settings, config)


def _run(settings: Settings, config: Config | None) -> int:
    if config is not None and config.warning is not None:
        log.configure(settings.log_level)
        logging.getLogger("balancer").warning(config.warning)
    # after the settings, so that a wrong flag is refused at once
    from balancer.master.run import run

    code: int = run(settings, Hooks(config.functions) if config is not None else None)
    return code


def _read(file: str) -> Config:
    # tomllib and difflib are for those who have a file
    from balancer.settings.files import read_file

    return read_file(file)
