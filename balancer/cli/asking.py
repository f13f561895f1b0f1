"""What all commands to a running server have in common: who is asked, for how long, and how the
answer is shown.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
import msgspec

from balancer.cli.client import NotDone, ask, locate
from balancer.errors import BalancerError, ExitCode, UsageError
from balancer.settings.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.core.control import Reply, Request

__all__ = ["Server", "server_options", "wait_option"]

PATIENCE = "10s"
WAITING = "10m"


class Server:
    """The server that a command line means, and how to talk to it; made from its options.

    Args:
        name: ``-n``.
        control: ``--control``.
        timeout: ``--timeout``; None: 10 s, or 10 min for what is waited for.
        as_json: ``--json``.
    """

    def __init__(
        self, name: str | None, control: str | None, timeout: str | None, *, as_json: bool
    ) -> None:
        self._name = name or (None if control else os.environ.get("BALANCER_NAME") or None)
        self._control = control or (None if name else os.environ.get("BALANCER_CONTROL") or None)
        self._timeout = timeout
        self.as_json = as_json

    def ask(self, request: Request) -> Reply:
        """The reply to a request that was granted; a refusal is a ``BalancerError``."""
        waits = bool(getattr(request, "wait", False))
        seconds = _seconds(self._timeout or (WAITING if waits else PATIENCE))
        reply = ask(locate(self._name, self._control), request, seconds)
        if not reply.ok:
            raise BalancerError(reply.error or "the server refused without a reason")
        if waits and not reply.done:
            raise NotDone(
                "the server is older than this command line: it has begun, and can't say when it "
                "is done; leave --wait out"
            )
        return reply

    def tell(self, request: Request, doing: str, done: str | None = None) -> int:
        """Ask for something and say what is ``doing``, or ``done`` when it was waited for."""
        reply = self.ask(request)
        return self.say(request, reply, done if done and reply.done else doing)

    def say(self, request: Request, reply: Reply, text: str, **result: object) -> int:
        """Print what was done: ``text``, or the request's own fields with the ``result``."""
        if self.as_json:
            fields = msgspec.to_builtins(request)
            about = {"ok": True, **fields, **result}
            if about.pop("wait", None) is not None:
                about["done"] = reply.done
            del about["v"]
            click.echo(msgspec.json.encode(about))
        else:
            click.echo(text)
        return ExitCode.OK


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--timeout {text}: {error}") from None
    if seconds <= 0:
        raise UsageError(f"--timeout {text}: must be more than 0")
    return seconds


def server_options(command: Callable[..., int]) -> Callable[..., int]:
    """``-n``, ``--control``, ``--timeout`` and ``--json``, as one ``server``."""

    def run(
        name: str | None, control: str | None, timeout: str | None, as_json: bool, **own: object
    ) -> int:
        return command(Server(name, control, timeout, as_json=as_json), **own)

    run.__doc__ = command.__doc__
    run.__name__ = command.__name__
    run.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    wrapped: Callable[..., int] = run
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option(
            "--timeout", metavar="TIME", help="Give up after so long. [10s, with --wait 10m]"
        ),
        click.option("--control", metavar="PATH", help="Path of the server's control socket."),
        click.option("-n", "--name", metavar="NAME", help="The server's name, or first bind."),
    ):
        wrapped = option(wrapped)
    return wrapped


wait_option = click.option(
    "--wait", is_flag=True, help="Return when it is done; the exit code says how it ended."
)
