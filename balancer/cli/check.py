"""``balancer check`` and ``balancer config``: what a server would be told, before it is started.

``check`` prints every error, a line each with its place, on standard output as compilers do;
``config`` the settings that hold and who gave them.  gunicorn's ``--check-config`` and
``--print-config`` of ``serve``, ``proxy`` and ``run`` end here too.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING

import click

from balancer.cli.explain import as_json, as_text
from balancer.cli.options import CONFIG, SettingsCommand, given_flags
from balancer.cli.trial import check_folders, try_apps
from balancer.errors import BalancerError, ExitCode, UsageError
from balancer.settings.engine import unheard
from balancer.settings.environment import unknown_variables
from balancer.settings.load import examine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balancer.settings.load import Examined
    from balancer.settings.origin import Given
    from balancer.settings.table import Setting, Settings

    Refuse = Callable[[Settings], str | None]
    """What a command has to say against settings that are in order, if anything."""

__all__ = ["check", "check_config", "config", "print_config"]


def _is_a_flag(setting: Setting) -> bool:
    return not setting.positional


@click.command(cls=SettingsCommand, takes=_is_a_flag)
@CONFIG
@click.pass_context
def check(context: click.Context, file: str | None) -> int:
    """Check a configuration, and print everything that is wrong with it.

    The file, the environment and the flags are read as by balancer run, and the apps are imported,
    by a process of their own. Exit code 0: it can be served; 2: some value makes no sense; 4: an
    app can't be imported.
    """
    return check_config(given_flags(context), file)


@click.command(cls=SettingsCommand, takes=_is_a_flag)
@CONFIG
@click.option("--all", "everything", is_flag=True, help="Also what nobody has set.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object, with everything.")
@click.pass_context
def config(context: click.Context, file: str | None, everything: bool, json: bool) -> int:
    """Print the settings that hold, and where each value came from.

    A flag beats the environment, the environment beats the top level of the file; what a table of
    the file says of one app or one pool beats them all.
    """
    found = _examine(given_flags(context), file, None)
    if found.errors:
        return _complain(found.errors)
    click.echo(as_json(found.settings) if json else as_text(found.settings, everything=everything))
    return ExitCode.OK


def check_config(flags: Sequence[Given], file: str | None, refuse: Refuse | None = None) -> int:
    """Print what is wrong, or that nothing is; the exit code."""
    code, _ = _check(flags, file, refuse)
    if code == ExitCode.OK:
        click.echo(f"{file or 'configuration'}: ok")
    return code


def print_config(flags: Sequence[Given], file: str | None, refuse: Refuse | None = None) -> int:
    """Print all settings when nothing is wrong with them, else what is; the exit code."""
    code, settings = _check(flags, file, refuse)
    if code == ExitCode.OK:
        click.echo(as_text(settings, everything=True))
    return code


def _check(flags: Sequence[Given], file: str | None, refuse: Refuse | None) -> tuple[int, Settings]:
    found = _examine(flags, file, refuse)
    settings = found.settings
    errors = found.errors or check_folders(settings) or try_apps(settings)
    if names := unheard(settings):
        click.echo(f"warning: --engine uvicorn has no such limit: {', '.join(names)}", err=True)
    if found.config.warning is not None:
        click.echo(f"warning: {found.config.warning}", err=True)
    return _complain(errors), settings


def _examine(flags: Sequence[Given], file: str | None, refuse: Refuse | None) -> Examined:
    """As the command that would start the server, with a variable that means nothing an error."""
    found = examine(flags, file=file, env=os.environ)
    errors = [*found.errors, *map(UsageError, unknown_variables(os.environ))]
    errors.sort(key=lambda error: _line(str(error), file))
    if not errors and refuse is not None and (text := refuse(found.settings)) is not None:
        errors.append(UsageError(text))
    return dataclasses.replace(found, errors=tuple(errors))


def _line(text: str, file: str | None) -> int:
    """The line of the file that an error begins with; those of elsewhere come last."""
    rest = text.removeprefix(f"{file}:")
    number = rest.partition(":")[0]
    return int(number) if rest != text and number.isdecimal() else sys.maxsize


def _complain(errors: Sequence[BalancerError]) -> int:
    for error in errors:
        click.echo(" ".join(str(error).split()))
        if error.details:
            click.echo(error.details)
    return errors[0].exit_code if errors else ExitCode.OK
