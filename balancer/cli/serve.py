"""``balancer serve``: settings from everywhere, then the master."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import click

from balancer import log
from balancer.cli.options import SettingsCommand, given_flags
from balancer.hooks import Hooks
from balancer.settings.load import load

if TYPE_CHECKING:
    from balancer.settings.source import Config

__all__ = ["serve"]


@click.command(cls=SettingsCommand)
@click.option(
    "-c",
    "--config",
    "file",
    metavar="FILE",
    help="Read settings from FILE.toml, or with hooks from FILE.py or python:MODULE.",
)
@click.pass_context
def serve(context: click.Context, file: str | None) -> int:
    """Serve APP, or the demo app, in worker processes behind one fair master.

    Every option can also stand in the file (with underscores) and in the environment. A flag
    beats the environment, the environment beats the file. TIME is 30, 30s, 250ms or 1h30m; SIZE is
    65536, 64KiB or 8MiB.
    """
    config = None if file is None else _read(file)
    settings = load(given_flags(context), file=config, env=os.environ)
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
