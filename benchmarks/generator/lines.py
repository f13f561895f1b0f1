"""A connection of the generator's: a raw socket, and what is under way on it."""

from __future__ import annotations

import errno
import re
import socket
from typing import final

__all__ = ["Line", "ShortageError", "connect"]

# Linux's value; the socket module has no name for it before Python 3.12.
_IP_BIND_ADDRESS_NO_PORT = 24
_CONNECTING = {0, errno.EINPROGRESS}
SOURCES = 250
"""Client addresses of each process; one has ports for 28,000 connections that were closed lately.

Many, because a policy may go by the client's address.
"""
PID = re.compile(rb"(?:\(|in )pid (\d+)")
CLOSING = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class ShortageError(Exception):
    """The generator ran out of ports or descriptors; the message is a sentence that says so."""


@final
class Line:
    """The socket is its own.  ``number`` is the request under way, or -1.

    ``left`` counts the requests that it may still bring; ``counted`` says that it is in the
    account; ``unsent`` is a request that the kernel hasn't taken yet, while it connects.
    """

    __slots__ = ("counted", "data", "left", "number", "sock", "unsent")

    def __init__(self, sock: socket.socket, left: int) -> None:
        self.sock = sock
        self.left = left
        self.number = -1
        self.counted = False
        self.data = b""
        self.unsent = b""


def connect(port: int, source: str) -> socket.socket:
    """Begin to connect from that address.

    On loopback it has succeeded when this returns, unless the server's backlog is full.

    Raises:
        ShortageError: no descriptor or port.
        OSError: any other, ECONNREFUSED say.
    """
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise ShortageError(f"the generator has no socket left: {error.strerror}") from error
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The port is left to connect(), where only the pair of addresses has to be unique.
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
        code = sock.connect_ex(("127.0.0.1", port))
    except BaseException:  # until it is returned it is ours
        sock.close()
        raise
    if code in _CONNECTING:
        return sock
    sock.close()
    if code in {errno.EADDRNOTAVAIL, errno.EAGAIN}:
        raise ShortageError("the generator has no port left to connect from")
    raise OSError(code, errno.errorcode.get(code, str(code)))
