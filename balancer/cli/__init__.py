"""The ``balancer`` command.

Each command imports what it needs when it runs: ``status`` shall not wait for trio.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from balancer import __version__
from balancer.errors import BalancerError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Complain = Callable[..., int]

__all__ = ["main"]

# what a shell reports for SIGINT
INTERRUPTED = 130

_SOURCES = {
    "serve": "balancer.cli.serve",
    "proxy": "balancer.cli.serve",
    "run": "balancer.cli.serve",
    "check": "balancer.cli.check",
    "config": "balancer.cli.check",
    "status": "balancer.cli.commands",
    "reload": "balancer.cli.commands",
    "restart": "balancer.cli.commands",
    "scale": "balancer.cli.commands",
    "drain": "balancer.cli.commands",
    "resume": "balancer.cli.commands",
    "weight": "balancer.cli.commands",
    "log-level": "balancer.cli.commands",
    "reopen": "balancer.cli.commands",
    "upgrade": "balancer.cli.commands",
    "stop": "balancer.cli.commands",
    "systemd": "balancer.cli.systemd",
}

# what is called otherwise elsewhere, where the nearest spelling would mislead
_OTHER_NAMES = {"start": "serve", "ps": "status", "shutdown": "stop"}


class Balancer(click.Group):
    """A group that imports a command's module when the command is used.

    Every error that is the user's to mend ends as one line on stderr and an exit code.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order in which they are explained."""
        return list(_SOURCES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in _SOURCES:
            return None
        from importlib import import_module

        module = import_module(_SOURCES[cmd_name])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion for a slip of the finger."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            meant = _OTHER_NAMES.get(args[0])
            close = [meant] if meant else get_close_matches(args[0], _SOURCES, n=1)
            if not close:
                raise
            message = f"{error.message} Did you mean '{close[0]}'?"
            raise click.UsageError(message, ctx) from None

    def main(self, args: Sequence[str] | None = None, **extra: object) -> NoReturn:  # type: ignore[override]  # one mode of click's
        """Run a command line and leave with its exit code."""
        extra["standalone_mode"] = False
        words = sys.argv[1:] if args is None else args
        complain = _complain_as_json if "--json" in words else _complain
        sys.exit(self._run(args, extra, complain))

    def _run(self, args: Sequence[str] | None, extra: dict[str, object], complain: Complain) -> int:
        try:
            code = super().main(args, **extra)  # type: ignore[call-overload]  # passed through
        except click.ClickException as error:
            return complain(error.format_message(), ExitCode.USAGE)
        except BalancerError as error:
            return complain(str(error), error.exit_code, error.details)
        except ExceptionGroup as group:
            # out of the master's nurseries
            ours, others = group.split(BalancerError)
            if ours is None or others is not None:
                raise
            first = _first(ours)
            return complain(str(first), first.exit_code, first.details)
        except click.Abort:
            return INTERRUPTED
        return int(code or ExitCode.OK)


def _first(group: ExceptionGroup[BalancerError]) -> BalancerError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error


def _complain(message: str, code: int, details: str = "") -> int:
    click.echo(f"balancer: error: {' '.join(message.split())}", err=True)
    if details:
        click.echo(details, err=True)
    if "BALANCER_UPGRADE" in os.environ:  # the master that started this one waits for it
        from balancer.net.upgrade import report_failure

        report_failure(os.environ, message)
    return code


def _complain_as_json(message: str, code: int, details: str = "") -> int:
    """For a program, which reads standard output and the exit code."""
    import json

    click.echo(json.dumps({"ok": False, "error": " ".join(message.split())}))
    if details:
        click.echo(details, err=True)
    return code


@click.group(
    cls=Balancer,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="balancer %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Node's cluster module for Python: one fair master in front of worker processes."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(ExitCode.USAGE)
