"""Where a server listens: ``HOST:PORT``, ``unix:PATH`` or ``fd://N``.

``parse_bind(str(bind)) == bind`` for every bind, because the master prints binds in its banner and
people paste them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

__all__ = ["DEFAULT_BIND", "Bind", "FdBind", "TcpBind", "UnixBind", "join_host_port", "parse_bind"]

# sockaddr_un.sun_path is 108 bytes and the kernel's copy ends in a NUL
MAX_UNIX_PATH = 107
DEFAULT_PORT = 8000
ANY = "0.0.0.0"

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,10}", re.ASCII)
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


def join_host_port(host: str, port: str) -> str:
    """``HOST:PORT`` with the brackets that an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def parse_bind(text: str) -> Bind:
    """One bind; ``:PORT`` is every IPv4 address, ``HOST`` alone is port 8000, as in gunicorn.

    Raises:
        ValueError: the text is none of the forms, or its port, path or fd is out of range.
    """
    if text.startswith("unix:"):
        return _parse_unix(text.removeprefix("unix:"))
    if text.startswith(("fd://", "fd:")):
        return _parse_fd(text.removeprefix("fd:").removeprefix("//"))
    if "://" in text:
        raise ValueError(f"a bind has no scheme; {_FORMS}")
    return _parse_tcp(text)


def _parse_unix(path: str) -> UnixBind:
    if path.startswith("///"):
        path = path.removeprefix("//")
    if not path or "\0" in path:
        raise ValueError("no path; write unix:PATH")
    if path.endswith("/"):
        raise ValueError("the path is a folder; write unix:PATH")
    if len(os.fsencode(path)) > MAX_UNIX_PATH:
        raise ValueError(f"the path has more than {MAX_UNIX_PATH} bytes, which no socket can have")
    return UnixBind(path)


def _parse_fd(text: str) -> FdBind:
    if not _DIGITS.fullmatch(text) or int(text) >= 1 << 31:
        raise ValueError("not a file descriptor; write fd://3")
    return FdBind(int(text))


def _parse_tcp(text: str) -> TcpBind:
    if not text:
        raise ValueError(f"empty; {_FORMS}")
    if _DIGITS.fullmatch(text):
        raise ValueError(f"a port needs a colon; did you mean :{text}?")
    if text.startswith("["):
        return _parse_ipv6(text)
    host, colon, port = text.rpartition(":") if ":" in text else (text, "", "")
    if ":" in host:
        raise ValueError("an IPv6 address needs brackets; write [::1]:8000")
    if host and not _HOST.fullmatch(host):
        raise ValueError(f"not an address; {_FORMS}")
    return TcpBind(host or ANY, _parse_port(port) if colon else DEFAULT_PORT)


def _parse_ipv6(text: str) -> TcpBind:
    host, bracket, rest = text[1:].partition("]")
    try:
        IPv6Address(host)
    except AddressValueError:
        raise ValueError("not an IPv6 address; write [::1]:8000") from None
    if not bracket or (rest and not rest.startswith(":")):
        raise ValueError("not an IPv6 address; write [::1]:8000")
    return TcpBind(host, _parse_port(rest[1:]) if rest else DEFAULT_PORT)


def _parse_port(text: str) -> int:
    if not _DIGITS.fullmatch(text) or int(text) > 65535:
        raise ValueError("the port must be a number from 0 to 65535")
    return int(text)
