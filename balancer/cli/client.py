"""The other end of the control socket: find the server, ask it, and say what went wrong.

Plain blocking sockets: ``balancer status`` is one round trip, and starts a whole event loop's
import time sooner.
"""

from __future__ import annotations

import errno
import os
import select
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from balancer.core.control import MAX_REPLY, ControlError, Reply, Stop, decode_reply, encode
from balancer.errors import BalancerError, ExitCode, UsageError
from balancer.net.control import SUFFIX, Address, connect, find_servers, peer_pid, safe_name

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from balancer.core.control import Request

__all__ = ["NotDone", "NotRunning", "Unresponsive", "ask", "locate"]

RECEIVE = 64 * 1024


class NotRunning(BalancerError):  # noqa: N818 - it is no error of the server's
    """There is no such server; exit code 3."""

    exit_code = ExitCode.BOOT


class Unresponsive(BalancerError):  # noqa: N818 - nor is this
    """The server is there and doesn't answer; exit code 4."""

    exit_code = ExitCode.APP


class NotDone(BalancerError):  # noqa: N818 - nor this
    """It was begun, and nobody will say when it is done."""


def locate(name: str | None, control: str | None) -> Address:
    """The one server that is meant.

    Args:
        name: Its name, as of ``-n`` or its first bind.
        control: Or its socket's path.

    Raises:
        NotRunning: there is none.
        BalancerError: there are several, and no name was given.
    """
    if control is not None:
        path = os.path.abspath(control)
        return Address(Path(path).name.removesuffix(SUFFIX), path)
    servers = find_servers(os.environ, os.geteuid())
    if name is not None:
        servers, others = [one for one in servers if one.name == safe_name(name)], servers
        if not servers:
            there = f"; there are{_names(others)}" if others else ""
            raise NotRunning(f"-n {name}: no such server is running{there}")
    if not servers:
        raise NotRunning("no server of yours is running (one with --no-control can't be seen)")
    if len(servers) > 1:
        raise UsageError(f"several servers are running, name one with -n{_names(servers)}")
    return servers[0]


def _names(servers: list[Address]) -> str:
    """The live servers; with their sockets where names alone don't tell them apart."""
    names = [one.name for one in servers]
    if len(set(names)) < len(names):
        names = [f"{one.name} (--control {one})" for one in servers]
    return f": {', '.join(names)}" if names else ""


def ask(address: Address, request: Request, timeout: float) -> Reply:
    """Send one request and wait for its reply, ``timeout`` seconds in all.

    A ``Stop`` that waits has its reply when the master has gone: its process, not only its socket.

    Raises:
        NotRunning: nobody listens there.
        Unresponsive: no complete answer came in time.
        BalancerError: the answer makes no sense, or we may not ask.
    """
    deadline = time.monotonic() + timeout
    try:
        with connect(address, timeout) as connected:
            if isinstance(request, Stop) and request.wait:
                return _see_off(connected, request, deadline)
            connected.sendall(encode(request))
            return decode_reply(_receive_line(connected, deadline))
    except TimeoutError:
        raise Unresponsive(_too_late(address, request, timeout)) from None
    except ControlError as error:
        raise BalancerError(f"{address}: {error}") from None
    except OSError as error:
        if error.errno in {errno.ECONNREFUSED, errno.ENOENT}:
            raise NotRunning(f"no server is running at {address}") from None
        raise BalancerError(f"{address}: {error.strerror or error}") from None


def _too_late(address: Address, request: Request, timeout: float) -> str:
    if getattr(request, "wait", False):
        return (
            f"the server at {address} hasn't said that it is done (waited {timeout:g} s); what was "
            "begun goes on, unless its master is stopped or overloaded"
        )
    return (
        f"the server at {address} doesn't answer (waited {timeout:g} s); "
        "its master may be stopped or overloaded, and may still obey when it goes on"
    )


def _see_off(connected: socket.socket, request: Request, deadline: float) -> Reply:
    """Ask for the end, and wait for it."""
    with _process_of(connected) as process:
        connected.sendall(encode(request))
        try:
            reply = decode_reply(_receive_line(connected, deadline))
        except (ControlError, ConnectionError):
            if process is None or not _ends(process, deadline):
                raise
            reply = Reply(ok=True, done=True)  # it had no time for an answer
        if reply.ok and reply.done and process is not None and not _ends(process, deadline):
            raise TimeoutError
        return reply


@contextmanager
def _process_of(connected: socket.socket) -> Iterator[int | None]:
    """A pidfd of the other end; None where there is none to be had, as of another container."""
    try:
        process = os.pidfd_open(peer_pid(connected))
    except OSError:
        yield None
        return
    try:
        yield process
    finally:
        os.close(process)


def _ends(process: int, deadline: float) -> bool:
    """Wait for a process's end; False when that doesn't come in time."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _receive_line(connected: socket.socket, deadline: float) -> bytes:
    """All bytes up to the first newline."""
    received = bytearray()
    while not received.endswith(b"\n"):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        connected.settimeout(remaining)
        data = connected.recv(RECEIVE)
        if not data:
            raise ControlError("the server closed the connection without an answer")
        received += data
        if len(received) > MAX_REPLY:
            raise ControlError("the server's answer has no end")
    return bytes(received)
