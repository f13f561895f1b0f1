"""A new connection to an endpoint, in bounded time."""

from __future__ import annotations

import errno
import os
import socket

import trio

from balancer.core.retry import Failure
from balancer.upstream.errors import UpstreamError

__all__ = ["Address", "connect"]

Address = tuple[socket.AddressFamily, tuple[str, int] | str]
"""The family, and what ``socket.connect`` takes."""

SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
"""What we are out of, and the upstream is not to blame for."""
# EAGAIN is a UNIX listener's full backlog, which no writability ever announces (unix(7)).
UNDER_WAY = {errno.EINPROGRESS, errno.EINTR}
FULL = "its queue of new connections is full"


async def connect(address: Address, timeout: float) -> socket.socket:
    """A connected socket with TCP_NODELAY; the caller owns it.

    Args:
        address: the family and what ``socket.connect`` takes.
        timeout: seconds.

    Raises:
        UpstreamError: refused, unreachable, or not within the time.
    """
    family, target = address
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:  # EMFILE
        raise _failed(error.errno or 0) from None
    try:
        code = sock.connect_ex(target)
        if code in UNDER_WAY:
            with trio.move_on_after(timeout) as limit:
                await trio.lowlevel.wait_writable(sock)
            code = errno.ETIMEDOUT if limit.cancelled_caught else _outcome(sock)
        if code:
            raise _failed(code)
        if family != socket.AF_UNIX:
            if sock.getsockname()[:2] == target[:2]:
                # a port that nobody listens on, and that we were just given (RFC 9293 3.5)
                raise _failed(errno.ECONNREFUSED)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _outcome(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _failed(code: int) -> UpstreamError:
    why = FULL if code == errno.EAGAIN else os.strerror(code)
    failure = Failure.SHORTAGE if code in SHORT else Failure.CONNECT
    return UpstreamError(failure, f"can't connect: {why}")
