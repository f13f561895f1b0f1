"""The commands that talk to a running server.

Exit codes: 0 done, 1 refused or given up (``status``: some worker isn't ready), 2 usage, 3 not
running, 4 no answer in time.
"""

from __future__ import annotations

import os

import click
import msgspec

from balancer.cli.asking import Server, server_options, wait_option
from balancer.cli.show import show_status
from balancer.core.control import (
    LOG_LEVELS,
    MAX_WORKERS,
    ControlError,
    Drain,
    DrainUpstream,
    GetStatus,
    LogLevel,
    Reload,
    Reopen,
    Restart,
    Resume,
    ResumeUpstream,
    Scale,
    Stop,
    Upgrade,
    Weigh,
    is_degraded,
    to_status,
)
from balancer.errors import BalancerError, ExitCode, UsageError

__all__ = [
    "drain", "log_level", "reload", "reopen", "restart", "resume", "scale", "status", "stop",
    "upgrade", "weight",
]  # fmt: skip

MAX_ID = 2**31 - 1

# ``scale -1`` is no option
_negative = {"ignore_unknown_options": True}


def _number(what: str, text: str, lowest: int, highest: int) -> int:
    digits = text[1:] if text[:1] in {"+", "-"} else text
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
        raise UsageError(f"{what} {text}: not a whole number")
    number = int(text)
    if number < lowest:
        raise UsageError(f"{what} {text}: must be at least {lowest}")
    if number > highest:
        raise UsageError(f"{what} {text}: must be at most {highest}")
    return number


def _worker(command: str, target: str) -> int | None:
    """The id of a worker, or None: an address has more than digits."""
    if target.removeprefix("-").isdecimal():
        return _number(command, target, 1, MAX_ID)
    return None


@click.command()
@click.option("--color/--no-color", default=None, help="Colours, or none. [on a terminal]")
@server_options
def status(server: Server, color: bool | None) -> int:
    """Show the workers and listeners; exit 1 when some worker isn't ready.

    There are colours on a terminal, unless NO_COLOR is set.
    """
    result = server.ask(GetStatus()).result
    try:
        parsed = to_status(result)
    except ControlError as error:
        raise BalancerError(str(error)) from None
    if server.as_json:
        # as it came: a newer server may say more than we know
        click.echo(msgspec.json.encode(result))
    else:
        click.echo(show_status(parsed), color=_wants_color(color))
    return ExitCode.RUN if is_degraded(parsed) else ExitCode.OK


@click.command()
@wait_option
@server_options
def reload(server: Server, wait: bool) -> int:
    """Read the configuration again and replace every worker, without losing a request.

    A new worker is ready before the old one leaves. With --wait: exit 1, and the reason, when it
    was given up and the old workers stay.
    """
    return server.tell(Reload(wait=wait), "reloading", "reloaded")


@click.command()
@click.argument("number", metavar="[ID]", required=False)
@wait_option
@server_options
def restart(server: Server, number: str | None, wait: bool) -> int:
    """Replace every worker, or worker ID, with the configuration as it is.

    A new worker is ready before the old one leaves. The app's code is read again; for a single
    worker only without --preload.
    """
    if number is None:
        return server.tell(Restart(wait=wait), "restarting", "restarted")
    worker = _number("restart", number, 1, MAX_ID)
    request = Restart(worker_id=worker, wait=wait)
    return server.tell(request, f"replacing worker {worker}", f"worker {worker} is replaced")


@click.command(context_settings=_negative)
@click.argument("number", metavar="N")
@wait_option
@server_options
def scale(server: Server, number: str, wait: bool) -> int:
    """Have N workers, or +N or -N: so many more or less.

    With --wait: until the new ones are ready, or the others have left.
    """
    if number[:1] in {"+", "-"}:
        by = _number("scale", number, -MAX_WORKERS, MAX_WORKERS)
        if not by:
            raise UsageError(f"scale {number}: changes nothing")
        request = Scale(by=by, wait=wait)
    else:
        request = Scale(workers=_number("scale", number, 1, MAX_WORKERS), wait=wait)
    reply = server.ask(request)
    verb, plural = "scaled" if reply.done else "scaling", "" if reply.result == 1 else "s"
    text = f"{verb} to {reply.result} worker{plural}"
    return server.say(request, reply, text, workers=reply.result)


@click.command()
@click.argument("target", metavar="ID|UPSTREAM")
@wait_option
@server_options
def drain(server: Server, target: str, wait: bool) -> int:
    """Take a worker, or an upstream, out of service: it gets nothing new, finishes what it has and
    stays, until it is resumed.

    UPSTREAM is an address, or what was written for it. With --wait: until nothing is left. A worker
    that follows a drained one, after its death or a reload, is in service.
    """
    worker = _worker("drain", target)
    if worker is None:
        upstream = DrainUpstream(upstream=target, wait=wait)
        return server.tell(upstream, f"draining {target}", f"{target} is drained")
    request = Drain(worker_id=worker, wait=wait)
    return server.tell(request, f"draining worker {worker}", f"worker {worker} is drained")


@click.command()
@click.argument("target", metavar="ID|UPSTREAM")
@server_options
def resume(server: Server, target: str) -> int:
    """Put a worker, or an upstream, back into service that was drained."""
    worker = _worker("resume", target)
    if worker is None:
        return server.tell(ResumeUpstream(upstream=target), f"{target} is in service")
    return server.tell(Resume(worker_id=worker), f"worker {worker} is in service")


@click.command()
@click.argument("upstream", metavar="UPSTREAM")
@click.argument("number", metavar="N")
@server_options
def weight(server: Server, upstream: str, number: str) -> int:
    """Give an upstream another share of the requests: a weight of N, from 1 to 256."""
    from balancer.settings.upstream import MAX_WEIGHT  # and all that is said of upstreams with it

    share = _number(f"weight {upstream}", number, 1, MAX_WEIGHT)
    return server.tell(Weigh(upstream=upstream, weight=share), f"{upstream} has weight {share}")


@click.command("log-level")
@click.argument("level", metavar="LEVEL")
@server_options
def log_level(server: Server, level: str) -> int:
    """Log from LEVEL up: debug, info, warning, error or critical; the master and all workers."""
    if level not in LOG_LEVELS:
        raise UsageError(f"log-level {level}: must be one of {', '.join(LOG_LEVELS)}")
    return server.tell(LogLevel(level=level), f"the log level is {level}")


@click.command()
@server_options
def reopen(server: Server) -> int:
    """Open the access log anew, after it was renamed (the same as USR1 to the master)."""
    return server.tell(Reopen(), "reopening")


@click.command()
@wait_option
@server_options
def upgrade(server: Server, wait: bool) -> int:
    """Put another master, perhaps of another version, in the place of this one.

    It takes the listeners over, and the old one leaves when it serves; when it doesn't, the old one
    goes on. With --wait: exit 1, and the reason, in that case.
    """
    return server.tell(Upgrade(wait=wait), "upgrading", "upgraded")


@click.command()
@click.option("--quick", is_flag=True, help="Don't wait for requests in progress.")
@wait_option
@server_options
def stop(server: Server, quick: bool, wait: bool) -> int:
    """Stop the server once its requests are answered; again: kill.

    With --wait: until its master has gone.
    """
    return server.tell(Stop(quick=quick, wait=wait), "stopping", "stopped")


def _wants_color(flag: bool | None) -> bool | None:
    """None: as click decides, by whether it is a terminal."""
    return flag if flag is not None else False if os.environ.get("NO_COLOR") else None
