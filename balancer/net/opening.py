"""From a bind to its listeners: what an address means, how it is bound, and why it can't be.

One bind may be several listeners (a name with an IPv4 and an IPv6 address), each a lane.  Options
set here are inherited by accepted connections (Linux), which saves system calls per connection.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from balancer.errors import RunError
from balancer.net.holder import holder_of_path, holder_of_port
from balancer.net.listener import SO_LOCK_FILTER, Listener
from balancer.net.unix import OURS, FileAccess, bind_path, lock_folder
from balancer.settings import Bind, FdBind, TcpBind, UnixBind

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["add_shard", "adopt_passed", "open_listeners"]

KEEPALIVE_IDLE = 60
"""Seconds until the kernel probes a silent client; a dead one is found after three more."""


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
