"""Listening sockets: bind, batched accept, and what accept(2) may say.

A listener is bound once, by the master, and lives as long as the server: workers come and go, the
port never refuses.  Options set here are inherited by accepted connections (Linux), which saves
system calls per connection.

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
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, final

from balancer.errors import RunError
from balancer.net.holder import holder_of_path, holder_of_port
from balancer.net.unix import OURS, FileAccess, bind_path, identity, lock_folder
from balancer.settings import Bind, FdBind, TcpBind, UnixBind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Accepted",
    "Listener",
    "accept_batch",
    "add_shard",
    "adopt_passed",
    "client_key",
    "deafen",
    "keep_hearing",
    "open_listeners",
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
KEEPALIVE_IDLE = 60
"""Seconds until the kernel probes a silent client; a dead one is found after three more."""


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


def open_listeners(
    binds: tuple[Bind, ...],
    *,
    backlog: int,
    where: str = "-b",
    reuseport: bool = False,
    first: int = 0,
    beside: tuple[Bind, ...] = (),
    access: FileAccess = OURS,
    passed: Mapping[int, list[Listener]] | None = None,
) -> list[Listener]:
    """One listener per lane, with ``reuseport`` ready for ``add_shard`` where it is TCP.

    The lanes are numbered from ``first``; ``beside`` are binds that are open already;
    ``access`` is for the files of UNIX sockets.  Those of the binds in ``passed``, by index, are
    there already, and get their numbers here.

    RunError names ``where`` and the address that can't be bound.
    """
    lanes: list[Listener] = []
    try:
        for index, bind in enumerate(binds):
            if passed and index in passed:
                for listener in passed[index]:
                    listener.lane, listener.bind = first + len(lanes), index
                    lanes.append(listener)
                continue
            for family, address, v6only in _resolve(bind, (*binds, *beside), where):
                try:
                    path = bind.path if isinstance(bind, UnixBind) else None
                    with nullcontext() if path is None else lock_folder(path):
                        if path is None:
                            sock = _open(bind, family, address, v6only=v6only, reuseport=reuseport)
                        else:
                            sock = bind_path(path, access)
                        lanes.append(_listen(sock, backlog, first + len(lanes), path))
                        lanes[-1].bind = index
                        lanes[-1].given = bind.fd if isinstance(bind, FdBind) else -1
                except OSError as error:
                    holder = _holder(bind, family, address, error)
                    raise RunError(_explain(where, bind, error) + holder) from error
    except BaseException:
        for listener in lanes:
            listener.close()
        raise
    return lanes


def add_shard(like: Listener, *, backlog: int) -> Listener:
    """One more SO_REUSEPORT listener on the address of another."""
    address = like.sock.getsockname()
    sock = _tcp(like.sock.family, address, v6only=_v6only(like.sock), reuseport=True)
    shard = _listen(sock, backlog, like.lane, None)
    shard.bind = like.bind
    return shard


def adopt_passed(
    sock: socket.socket, path: str | None = None, inode: tuple[int, int] | None = None
) -> Listener:
    """A listener that another master has, too; its lane and bind are to be set."""
    sock.setblocking(False)
    return Listener(sock, 0, _name(sock), path, inode=inode, lent=True)


def _listen(sock: socket.socket, backlog: int, lane: int, path: str | None) -> Listener:
    try:
        sock.setblocking(False)
        sock.listen(backlog)
        return Listener(sock, lane, _name(sock), path)
    except BaseException:
        sock.close()
        raise


def _resolve(
    bind: Bind, binds: tuple[Bind, ...], where: str
) -> list[tuple[int, tuple[str, int], bool]]:
    """Family, address and IPV6_V6ONLY of everything that a bind means: a name may mean several."""
    if not isinstance(bind, TcpBind):
        return [(socket.AF_UNIX, ("", 0), False)]
    try:
        found = socket.getaddrinfo(
            bind.host, bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise RunError(f"{where} {bind}: {error.strerror or error}") from error
    except UnicodeError as error:  # an empty label, or one of more than 63 characters
        raise RunError(f"{where} {bind}: no host can have this name") from error
    addresses = list(
        dict.fromkeys((int(family), (str(a[0]), bind.port)) for family, *_, a in found)
    )
    if bind.port == 0:
        del addresses[1:]  # two families would get two different ports
    # [::] takes IPv4 too, as gunicorn's and Node's does, unless IPv4 is bound beside it
    v4 = {other.port for other in binds if isinstance(other, TcpBind) and ":" not in other.host}
    alone = len(addresses) == 1 and bind.port not in v4
    return [(family, address, not alone) for family, address in addresses]


def _open(
    bind: Bind, family: int, address: tuple[str, int], *, v6only: bool, reuseport: bool
) -> socket.socket:
    if isinstance(bind, FdBind):
        return _adopt(bind.fd)
    if not reuseport:
        return _tcp(family, address, v6only=v6only)
    # Without SO_REUSEPORT first: with it, a second server on the port would go unnoticed.
    with _tcp(family, address, v6only=v6only) as probe:
        address = probe.getsockname()
    return _tcp(family, address, v6only=v6only, reuseport=True)


def _tcp(
    family: int, address: tuple[str, int], *, v6only: bool, reuseport: bool = False
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuseport:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        _set_inherited(sock)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _set_inherited(sock: socket.socket) -> None:
    """The options that accepted connections inherit."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):  # macOS has another name for it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)


def _adopt(fd: int) -> socket.socket:
    """A socket that our parent opened: systemd, or a shell's ``exec 3<>``."""
    ours = os.dup(fd)  # not inheritable
    try:
        sock = socket.socket(fileno=ours)
    except BaseException:
        os.close(ours)
        raise
    if sock.type != socket.SOCK_STREAM:
        sock.close()
        raise OSError(errno.EPROTOTYPE, "not a stream socket")
    if sock.family != socket.AF_UNIX:
        _set_inherited(sock)
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)  # see deafen
    return sock


def _v6only(sock: socket.socket) -> bool:
    if sock.family != socket.AF_INET6:
        return False
    return bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))


def _name(sock: socket.socket) -> str:
    """The address as a user would type it into a client."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        # an abstract one, which only systemd can have opened for us, is bytes and begins with a NUL
        return f"unix:@{os.fsdecode(name[1:])}" if isinstance(name, bytes) else f"unix:{name}"
    host = f"[{name[0]}]" if sock.family == socket.AF_INET6 else name[0]
    return f"http://{host}:{name[1]}"


_WHY = {
    errno.EADDRINUSE: "address already in use",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EBADF: "no such open file descriptor",
    errno.ENOTSOCK: "not a socket",
    errno.ENOENT: "no such directory",
}


def _holder(bind: Bind, family: int, address: tuple[str, int], error: OSError) -> str:
    """Who has the address instead, if that is the error and can be known."""
    if error.errno != errno.EADDRINUSE:
        return ""
    if isinstance(bind, UnixBind):
        return holder_of_path(bind.path)
    return holder_of_port(family, address) if isinstance(bind, TcpBind) else ""


def _explain(where: str, bind: Bind, error: OSError) -> str:
    why = _WHY.get(error.errno or 0) or error.strerror or str(error)
    if (
        error.errno in {errno.EACCES, errno.EPERM}
        and isinstance(bind, TcpBind)
        and bind.port < 1024
    ):
        why += "; ports below 1024 need root or CAP_NET_BIND_SERVICE"
    return f"{where} {bind}: {why}"
