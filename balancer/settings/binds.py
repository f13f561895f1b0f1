"""Where a server listens: ``HOST:PORT``, ``unix:PATH`` or ``fd://N``.

``parse_bind(str(bind)) == bind`` for every bind, because the master prints binds in its banner and
people paste them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from balancer.settings.hostport import DIGITS, check_unix_path, join_host_port, split_ipv6

__all__ = ["DEFAULT_BIND", "Bind", "FdBind", "TcpBind", "UnixBind", "parse_admin", "parse_bind"]

DEFAULT_PORT = 8000
ANY = "0.0.0.0"

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?", re.ASCII)
_HAS_PORT = re.compile(r":[0-9]+$", re.ASCII)
_FORMS = "write HOST:PORT, :PORT, [IPV6]:PORT, unix:PATH or fd://N"


@dataclass(frozen=True, slots=True)
class TcpBind:
    """A TCP address; port 0 lets the kernel choose. An IPv6 host has no brackets here."""

    host: str
    port: int

    def __str__(self) -> str:
        return join_host_port(self.host, str(self.port))


@dataclass(frozen=True, slots=True)
class UnixBind:
    """A Unix domain socket in the file system."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class FdBind:
    """A listening socket that the process was started with."""

    fd: int

    def __str__(self) -> str:
        return f"fd://{self.fd}"


Bind = TcpBind | UnixBind | FdBind
DEFAULT_BIND = TcpBind("127.0.0.1", DEFAULT_PORT)


def parse_bind(text: str) -> Bind:
    """One bind; ``:PORT`` is every IPv4 address, ``HOST`` alone is port 8000, as in gunicorn.

    Raises:
        ValueError: the text is none of the forms, or its port, path or fd is out of range.
    """
    if text.startswith("unix:"):
        return UnixBind(check_unix_path(text.removeprefix("unix:"), "unix:PATH"))
    if text.startswith(("fd://", "fd:")):
        return _parse_fd(text.removeprefix("fd:").removeprefix("//"))
    if "://" in text:
        raise ValueError(f"a bind has no scheme; {_FORMS}")
    return _parse_tcp(text)


def parse_admin(text: str) -> TcpBind | UnixBind:
    """The address of health checks: one bind, with a port, as nobody means 8000.

    Raises:
        ValueError: the text is none of the forms.
    """
    forms = "write HOST:PORT, [IPV6]:PORT or unix:PATH"
    bind = parse_bind(text)
    if isinstance(bind, FdBind):
        raise ValueError(f"can't be a descriptor; {forms}")
    if isinstance(bind, TcpBind) and not _HAS_PORT.search(text):
        raise ValueError(f"has no port; {forms}")
    return bind


def _parse_fd(text: str) -> FdBind:
    if not DIGITS.fullmatch(text) or int(text) >= 1 << 31:
        raise ValueError("not a file descriptor; write fd://3")
    return FdBind(int(text))


def _parse_tcp(text: str) -> TcpBind:
    if not text:
        raise ValueError(f"empty; {_FORMS}")
    if DIGITS.fullmatch(text):
        raise ValueError(f"a port needs a colon; did you mean :{text}?")
    if text.startswith("["):
        host, number = split_ipv6(text, "[::1]:8000")
        return TcpBind(host, DEFAULT_PORT if number is None else _parse_port(number))
    host, colon, port = text.rpartition(":") if ":" in text else (text, "", "")
    if ":" in host:
        raise ValueError("an IPv6 address needs brackets; write [::1]:8000")
    if host and not _HOST.fullmatch(host):
        raise ValueError(f"not an address; {_FORMS}")
    return TcpBind(host or ANY, _parse_port(port) if colon else DEFAULT_PORT)


def _parse_port(text: str) -> int:
    if not DIGITS.fullmatch(text) or int(text) > 65535:
        raise ValueError("the port must be a number from 0 to 65535")
    return int(text)
