"""Socket activation: the listening sockets that systemd opened before we were started.

systemd names them in the environment: ``LISTEN_FDS`` sockets from descriptor 3 on, for the process
whose pid is ``LISTEN_PID``, with the names in ``LISTEN_FDNAMES`` (sd_listen_fds(3)).  Whoever reads
these variables takes them out of the environment, or workers, and what they start, would take
sockets for theirs that are not.

Which of them is served, and beside what:

* without ``-b`` they are the binds (gunicorn's and hypercorn's rule);
* a ``-b`` that names the address of one of them *is* that one: to bind it again would fail, and a
  file that says ``bind = "0.0.0.0:80"`` shall do both with a socket unit and without;
* other binds are bound as ever;
* one that no ``-b`` names is an error: its clients would wait for ever.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from balancer.errors import RunError
from balancer.settings import FdBind, TcpBind, UnixBind
from balancer.settings.hostport import join_host_port
from balancer.settings.origin import Rank

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from balancer.settings import Bind, Settings

__all__ = ["Passed", "adopt_passed", "take_passed"]

FIRST = 3
"""SD_LISTEN_FDS_START"""
VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


@dataclass(frozen=True, slots=True)
class Passed:
    """A listening socket that was passed to us; ``fd`` stays open until we end.

    Attributes:
        fd: Its descriptor.
        name: What the socket unit calls it (``FileDescriptorName=``, else the unit's name).
        address: As a bind would be written.
        v6only: It is IPv6, and takes no IPv4.
    """

    fd: int
    name: str
    address: str
    v6only: bool = False

    def __str__(self) -> str:
        return f"{self.address} ({self.name})" if self.name else self.address


def take_passed(environ: MutableMapping[str, str], pid: int) -> list[Passed]:
    """The sockets that were passed to this process; their variables go from ``environ``.

    None of them is inherited by what we start, unless it is passed on by name.

    Raises:
        RunError: there is no such descriptor, or it is no listening stream socket.
    """
    said = [environ.pop(name, "") for name in VARIABLES]
    if said[0] != str(pid) or not said[1].isdecimal():
        return []  # a parent's, which it forgot to take out of the environment
    names = said[2].split(":")
    return [
        _look_at(FIRST + index, names[index] if index < len(names) else "")
        for index in range(int(said[1]))
    ]


def _look_at(fd: int, name: str) -> Passed:
    who = f"fd {fd}{f' ({name})' if name else ''}, which systemd passed,"
    try:
        os.set_inheritable(fd, False)
        with socket.socket(fileno=os.dup(fd)) as sock:
            if sock.type != socket.SOCK_STREAM:
                raise RunError(f"{who} isn't a stream socket: write ListenStream= in its unit")
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise RunError(f"{who} is a connection: write Accept=no in the socket unit")
            v6only = sock.family == socket.AF_INET6 and bool(
                sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            )
            return Passed(fd, name, _address(sock), v6only)
    except OSError as error:
        raise RunError(f"{who} is no socket of ours: {error.strerror}") from None


def _address(sock: socket.socket) -> str:
    name = sock.getsockname()
    if sock.family != socket.AF_UNIX:
        return join_host_port(str(name[0]), str(name[1]))
    # an abstract one begins with a NUL, and is bytes
    return f"unix:@{os.fsdecode(name[1:])}" if isinstance(name, bytes) else f"unix:{name}"


def adopt_passed(settings: Settings, passed: list[Passed]) -> Settings:
    """The settings with the passed sockets among the binds, by the rule above.

    Raises:
        RunError: a bind was given, and a socket was passed that none of them names.
    """
    if not passed:
        return settings
    origin = settings.origins.get("bind")
    if origin is None or origin.rank is Rank.DEFAULT:
        binds = tuple(FdBind(each.fd) for each in passed)
        # several services say where each of them is served
        return replace(settings, bind=binds, service_of_bind=settings.service_of_bind * len(binds))
    found = [_served_by(bind, passed) for bind in settings.bind]
    served = {fd for fds in found for fd in fds}
    for each in passed:
        if each.fd not in served:
            given = ", ".join(map(str, settings.bind))
            raise RunError(
                f"{settings.where('bind')} {given}: systemd has passed {each}, which is none of "
                "these; leave the bind out, or change ListenStream= in the socket unit"
            )
    return _with_binds(settings, found)


def _with_binds(settings: Settings, found: list[list[int]]) -> Settings:
    binds: list[Bind] = []
    services: list[int] = []
    for index, (bind, fds) in enumerate(zip(settings.bind, found, strict=True)):
        ours: list[Bind] = [FdBind(fd) for fd in fds] or [bind]
        binds += ours
        services += settings.service_of_bind[index : index + 1] * len(ours)
    return replace(settings, bind=tuple(binds), service_of_bind=tuple(services))


def _served_by(bind: Bind, passed: list[Passed]) -> list[int]:
    """The passed descriptors that a bind stands for: a name may stand for two addresses."""
    return [each.fd for each in passed if _is_same(bind, each)]


def _is_same(bind: Bind, passed: Passed) -> bool:
    if isinstance(bind, FdBind):
        return bind.fd == passed.fd
    if isinstance(bind, UnixBind):
        return f"unix:{os.path.abspath(bind.path)}" == passed.address or (
            str(bind) == passed.address
        )
    if passed.address.startswith("unix:"):
        return False
    host, _, port = passed.address.rpartition(":")
    if port != str(bind.port):
        return False
    addresses = _addresses(bind)
    own = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    if own in addresses:
        return True
    # ListenStream=80 opens [::]:80, which takes IPv4, too
    return own == ipaddress.ip_address("::") and not passed.v6only and _ANY4 in addresses


_ANY4 = ipaddress.ip_address("0.0.0.0")


def _addresses(bind: TcpBind) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(
            bind.host, bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):  # who binds it will say so
        return set()
    return {ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found}
