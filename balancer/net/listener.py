"""Listening sockets: batched accept, and what accept(2) may say (``net.opening`` binds them).

A listener is bound once, by the master, and lives as long as the server: workers come and go, the
port never refuses.

``accept`` reports three kinds of trouble, after accept(2) and the survey in trio's
``serve_listeners``: *transient* errors belong to a connection that died on the way (Linux passes
network errors of the new socket through accept); *exhaustion* (EMFILE, ENFILE, ENOBUFS, ENOMEM)
passes when somebody closes something, and trying again at once would be a busy loop; anything else
is a bug and raised.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, final

from balancer.net.unix import identity

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Accepted",
    "Listener",
    "accept_batch",
    "client_key",
    "deafen",
    "keep_hearing",
]

SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
SO_LOCK_FILTER = 44
"""From asm-generic/socket.h; Python's socket doesn't name them."""

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
TRANSIENT = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPERM,  # a firewall rule
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.ENOSR,
        errno.ESOCKTNOSUPPORT,
        errno.EPROTONOSUPPORT,
        errno.ETIMEDOUT,
        errno.ECONNRESET,
        errno.EINTR,
    }
)


class Accepted(NamedTuple):
    """One batch: the fds, which the caller owns, and what ended it if that was exhaustion."""

    fds: list[int]
    exhausted: OSError | None


@final
@dataclass(slots=True, eq=False)
class Listener:
    """A listening socket, which it owns; ``lane`` is its number."""

    sock: socket.socket
    lane: int
    address: str
    path: str | None = None  # of a UNIX socket that is ours to remove
    bind: int = 0  # the index of the bind that it comes from: a name may stand for two addresses
    given: int = -1  # the descriptor that it was given as, which it owns, too
    inode: tuple[int, int] | None = None  # of the path
    lent: bool = False
    """Another master has it too, and goes on with it: its path and who waits stay as they are."""

    def __post_init__(self) -> None:
        if self.path is not None and self.inode is None:
            self.inode = identity(self.path)

    def fileno(self) -> int:
        """What to wait on, and to hand to workers."""
        return self.sock.fileno()

    @property
    def sharded(self) -> bool:
        """Whether it can have siblings on the same address."""
        return self.sock.family != socket.AF_UNIX and bool(
            self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        )

    def deafen(self) -> None:
        """Let it hear of no new connection any more; those that wait on it stay.

        A UNIX socket's file goes, unless somebody has replaced it: nobody finds it then.
        """
        if self.path is None:
            deafen(self.sock)
        # While it listens no other server takes the path, and its inode number isn't given again.
        elif self.sock.fileno() >= 0 and identity(self.path) == self.inode:
            with suppress(OSError):
                os.unlink(self.path)

    def close(self) -> None:
        """Close it; a UNIX socket's file goes too, unless somebody has replaced it.  Idempotent."""
        if self.sock.fileno() < 0:
            return  # the path may be another server's by now, even with the same inode number
        if self.path is not None and not self.lent:
            self.deafen()
        self.sock.close()

    def give_back(self) -> None:
        """Close what it was given as, or the kernel would let clients wait there for nobody."""
        if self.given >= 0:
            with suppress(OSError):
                os.close(self.given)
            self.given = -1


def accept_batch(sock: socket.socket, limit: int, keys: list[bytes] | None = None) -> Accepted:
    """Up to ``limit`` connections that are waiting now; ``keys`` gets each one's client address."""
    fds: list[int] = []
    # not accept(): it would wrap every fd in an object that the master has no use for
    accept = sock._accept  # type: ignore[attr-defined]  # typeshed leaves it out
    if keys is not None:
        accept = _noting_clients(accept, keys)
    for _ in range(limit):  # the errors count: a filter that forbids accept repeats its for ever
        try:
            fds.append(accept()[0])
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno in EXHAUSTED:
                return Accepted(fds, error)
            if error.errno not in TRANSIENT:
                raise
    return Accepted(fds, None)


def _noting_clients(
    accept: Callable[[], tuple[int, object]], keys: list[bytes]
) -> Callable[[], tuple[int, object]]:
    def accept_and_note() -> tuple[int, object]:
        fd, address = accept()
        keys.append(client_key(address))
        return fd, address

    return accept_and_note


def client_key(address: object) -> bytes:
    """What all connections of one client have in common: its IP address, as text.

    An IPv4 client of a dual-stack listener (``::ffff:192.0.2.1``) is the one that an IPv4 listener
    knows.  Nothing for a UNIX socket, where clients have no address.
    """
    if not isinstance(address, tuple):
        return b""
    host: str = address[0]
    mapped = host.removeprefix("::ffff:")
    return (mapped if "." in mapped and ":" not in mapped else host).encode()


def deafen(sock: socket.socket) -> None:
    """Let a listener hear of no new connection any more; those that wait on it stay.

    Closing a listener resets who waits on it, also whoever comes between the last accept and the
    close: at 700 connections a second one stop in fifty cut one.  A packet filter that drops
    everything (socket(7), SO_ATTACH_FILTER) closes that gap: a client that comes now repeats its
    SYN after a second, and is refused.  Connections made before have no filter.

    Not for a listener that was given to us: it goes on without us, so its filter is locked.  Nor
    for one that another master has, too (``Listener.lent``): the filter is everybody's.
    """
    if sock.family == socket.AF_UNIX or not sys.platform.startswith("linux"):
        return
    # one instruction of classic BPF: BPF_RET | BPF_K, nothing of the packet
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0), 8)
    whole = struct.pack("HP", 1, ctypes.addressof(program))
    with suppress(OSError):  # forbidden by a sandbox: then the gap is what it is elsewhere
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, whole)


def keep_hearing(sock: socket.socket) -> None:
    """Undo ``deafen``, whoever did it, and let nobody do it any more."""
    if sock.family == socket.AF_UNIX or not sys.platform.startswith("linux"):
        return
    for option in (SO_DETACH_FILTER, SO_LOCK_FILTER):
        with suppress(OSError):  # ENOENT: there is none; EPERM: it is locked already
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
