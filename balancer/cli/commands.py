"""The commands that talk to a running server.

Exit codes: 0 done, 1 refused (``status``: some worker isn't ready), 2 usage, 3 not running, 4 no
answer in time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
import msgspec

from balancer.cli.client import ask, locate
from balancer.cli.show import show_status
from balancer.core.control import (
    MAX_WORKERS,
    ControlError,
    Drain,
    GetStatus,
    Reload,
    Reopen,
    Scale,
    Stop,
    is_degraded,
    to_status,
)
from balancer.errors import BalancerError, ExitCode, UsageError
from balancer.settings.kinds import count
from balancer.settings.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.core.control import Request

__all__ = ["drain", "reload", "reopen", "scale", "status", "stop"]


def _server_options(command: Callable[..., int]) -> Callable[..., int]:
    """``-n``, ``--control`` and ``--timeout``."""
    for option in (
        click.option("--timeout", default="10s", metavar="TIME", help="Wait so long. [10s]"),
        click.option("--control", metavar="PATH", help="Path of the server's control socket."),
        click.option("-n", "--name", metavar="NAME", help="The server's name, or first bind."),
    ):
        command = option(command)
    return command


def _ask(request: Request, name: str | None, control: str | None, timeout: str) -> Any:  # noqa: ANN401 - JSON
    """The result of a request that was granted; a refusal is a ``BalancerError``."""
    address = locate(
        name or (None if control else os.environ.get("BALANCER_NAME") or None),
        control or (None if name else os.environ.get("BALANCER_CONTROL") or None),
    )
    reply = ask(address, request, _seconds(timeout))
    if not reply.ok:
        raise BalancerError(reply.error or "the server refused without a reason")
    return reply.result


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--timeout {text}: {error}") from None
    if seconds <= 0:
        raise UsageError(f"--timeout {text}: must be more than 0")
    return seconds


def _count(command: str, text: str, highest: int = 2**31 - 1) -> int:
    try:
        return int(count(1, highest).parse(text))
    except ValueError as error:
        raise UsageError(f"{command} {text}: {error}") from None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_server_options
def status(as_json: bool, **server: Any) -> int:  # noqa: ANN401 - the options of _server_options
    """Show the workers and listeners; exit 1 when some worker isn't ready."""
    result = _ask(GetStatus(), **server)
    try:
        parsed = to_status(result)
    except ControlError as error:
        raise BalancerError(str(error)) from None
    if as_json:
        # as it came: a newer server may say more than we know
        click.echo(msgspec.json.encode(result).decode())
    else:
        click.echo(show_status(parsed))
    return ExitCode.RUN if is_degraded(parsed) else ExitCode.OK


@click.command()
@_server_options
def reload(**server: Any) -> int:  # noqa: ANN401 - the options of _server_options
    """Replace every worker, one after the other, without losing a request."""
    _ask(Reload(), **server)
    click.echo("reloading")
    return ExitCode.OK


@click.command()
@click.argument("number", metavar="N")
@_server_options
def scale(number: str, **server: Any) -> int:  # noqa: ANN401 - the options of _server_options
    """Have N workers."""
    workers = _count("scale", number, MAX_WORKERS)
    _ask(Scale(workers=workers), **server)
    click.echo(f"scaling to {workers} worker{'s' if workers > 1 else ''}")
    return ExitCode.OK


@click.command()
@click.argument("number", metavar="ID")
@_server_options
def drain(number: str, **server: Any) -> int:  # noqa: ANN401 - the options of _server_options
    """Take one worker out of service: no new connections, it finishes what it has and stays."""
    worker_id = _count("drain", number)
    _ask(Drain(worker_id=worker_id), **server)
    click.echo(f"draining worker {worker_id}")
    return ExitCode.OK


@click.command()
@_server_options
def reopen(**server: Any) -> int:  # noqa: ANN401 - the options of _server_options
    """Open the access log anew, after it was renamed (the same as USR1 to the master)."""
    _ask(Reopen(), **server)
    click.echo("reopening")
    return ExitCode.OK


@click.command()
@click.option("--quick", is_flag=True, help="Don't wait for requests in progress.")
@_server_options
def stop(quick: bool, **server: Any) -> int:  # noqa: ANN401 - the options of _server_options
    """Stop the server once its requests are answered."""
    _ask(Stop(quick=quick), **server)
    click.echo("stopping")
    return ExitCode.OK
