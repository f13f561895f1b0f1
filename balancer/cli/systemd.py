"""``balancer systemd``: a unit for a command line, to look at, change and install."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from balancer.cli.options import given_flags
from balancer.cli.unit import service_unit, socket_unit, unit_name
from balancer.errors import ExitCode, UsageError
from balancer.settings.load import load

if TYPE_CHECKING:
    from balancer.settings import Settings

__all__ = ["systemd"]

SERVING = ("serve", "proxy", "run")


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--socket", "as_socket", is_flag=True, help="Print its socket unit instead.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@click.pass_context
def systemd(context: click.Context, as_socket: bool, command: tuple[str, ...]) -> int:
    """Print a unit that runs COMMAND (serve …, proxy … or run …) under systemd, from here.

    With a socket unit beside it, systemd opens the ports: no client is refused while the service is
    restarted, and no privileges are needed for port 80.
    """
    settings = _read(context, command)
    kind = "socket" if as_socket else "service"
    path = f"/etc/systemd/system/{unit_name(settings)}.{kind}"
    asked = shlex.join(["balancer", "systemd", *(["--socket"] if as_socket else []), *command])
    click.echo(f"# {path}, by: {asked}".replace("\n", " "))
    if as_socket:
        click.echo(socket_unit(settings))
    else:
        click.echo(service_unit(settings, _program(), command, os.getcwd(), _user()))
    return ExitCode.OK


def _read(context: click.Context, command: tuple[str, ...]) -> Settings:
    """What the command line means; its mistakes are found here, and not at the next boot."""
    name, *rest = command
    group = context.parent.command if context.parent is not None else None
    found = group.get_command(context, name) if isinstance(group, click.Group) else None
    if name not in SERVING or found is None:
        raise UsageError(f"systemd {name}: serves nothing; write balancer systemd serve …")
    inner = found.make_context(name, rest, parent=context)
    file = inner.params.get("file")
    if file is None:
        if name == "run":
            raise UsageError("systemd run: name a file with -c, such as -c balancer.toml")
        return load(given_flags(inner))
    from balancer.settings.files import read_file

    return load(given_flags(inner), file=read_file(file))


def _program() -> list[str]:
    """The command of this installation, else its interpreter."""
    script = Path(sys.executable).parent / "balancer"
    return [str(script)] if os.access(script, os.X_OK) else [sys.executable, "-m", "balancer"]


def _user() -> str:
    """Who runs this, but not root."""
    if os.geteuid() == 0:
        return ""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
