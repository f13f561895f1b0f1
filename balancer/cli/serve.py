"""``balancer serve``: settings from everywhere, then the master."""

from __future__ import annotations

import os

import click

from balancer.cli.options import SettingsCommand, given_flags
from balancer.settings.load import load

__all__ = ["serve"]


@click.command(cls=SettingsCommand)
@click.option("-c", "--config", "file", metavar="FILE", help="Read settings from a TOML file.")
@click.pass_context
def serve(context: click.Context, file: str | None) -> int:
    """Serve APP, or the demo app, in worker processes behind one fair master.

    Every option can also stand in the file (with underscores) and in the environment. A flag
    beats the environment, the environment beats the file. TIME is 30, 30s, 250ms or 1h30m; SIZE is
    65536, 64KiB or 8MiB.
    """
    settings = load(given_flags(context), file=file, env=os.environ)
    # after the settings, so that a wrong flag is refused at once
    from balancer.master.run import run

    code: int = run(settings)
    return code
