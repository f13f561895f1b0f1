"""The other end of the control socket: find the server, ask it, and say what went wrong.

Plain blocking sockets: ``balancer status`` is one round trip, and starts a whole event loop's
import time sooner.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from balancer.core.control import MAX_REPLY, ControlError, decode_reply, encode
from balancer.errors import BalancerError, ExitCode, UsageError
from balancer.net.control import SUFFIX, Address, connect, find_servers, safe_name

if TYPE_CHECKING:
    import socket

    from balancer.core.control import Reply, Request

__all__ = ["NotRunning", "Unresponsive", "ask", "locate"]

RECEIVE = 64 * 1024


class NotRunning(BalancerError):  # noqa: N818 - it is no error of the server's
    """There is no such server; exit code 3."""

    exit_code = ExitCode.BOOT


class Unresponsive(BalancerError):  # noqa: N818 - nor is this
    """The server is there and doesn't answer; exit code 4."""

    exit_code = ExitCode.APP


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

    Raises:
        NotRunning: nobody listens there.
        Unresponsive: no complete answer came in time.
        BalancerError: the answer makes no sense, or we may not ask.
    """
    deadline = time.monotonic() + timeout
    try:
        with connect(address, timeout) as connected:
            connected.sendall(encode(request))
            return decode_reply(_receive_line(connected, deadline))
    except TimeoutError:
        raise Unresponsive(
            f"the server at {address} doesn't answer (waited {timeout:g} s); "
            "its master may be stopped or overloaded, and may still obey when it goes on"
        ) from None
    except ControlError as error:
        raise BalancerError(f"{address}: {error}") from None
    except OSError as error:
        if error.errno in {errno.ECONNREFUSED, errno.ENOENT}:
            raise NotRunning(f"no server is running at {address}") from None
        raise BalancerError(f"{address}: {error.strerror or error}") from None


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
