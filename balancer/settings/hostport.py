"""What addresses to listen on and addresses to connect to have in common, as text.

Every function raises ValueError with a sentence that says what to write instead.
"""

from __future__ import annotations

import os
import re
from ipaddress import AddressValueError, IPv6Address

__all__ = ["DIGITS", "check_unix_path", "join_host_port", "split_ipv6"]

# sockaddr_un.sun_path is 108 bytes and the kernel's copy ends in a NUL
MAX_UNIX_PATH = 107
DIGITS = re.compile(r"[0-9]{1,10}", re.ASCII)
_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)


def join_host_port(host: str, port: str) -> str:
    """``HOST:PORT`` with the brackets that an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def split_ipv6(text: str, example: str) -> tuple[str, str | None]:
    """Host, without its brackets, and port, if there is one, of ``[IPV6]`` or ``[IPV6]:PORT``."""
    host, bracket, rest = text[1:].partition("]")
    _, percent, scope = host.partition("%")
    try:
        IPv6Address(host)
    except AddressValueError:
        raise ValueError(f"not an IPv6 address; write {example}") from None
    if not bracket or (rest and not rest.startswith(":")):
        raise ValueError(f"not an IPv6 address; write {example}")
    if percent and not _SCOPE.fullmatch(scope):
        raise ValueError("not an IPv6 address: what follows % must be an interface, as in %eth0")
    return host, rest[1:] if rest else None


def check_unix_path(path: str, example: str) -> str:
    """The path of ``unix:PATH``, or of ``unix:///PATH``, which some write."""
    if path.startswith("///"):
        path = path.removeprefix("//")
    if not path or "\0" in path:
        raise ValueError(f"no path; write {example}")
    if path.endswith("/"):
        raise ValueError(f"the path is a folder; write {example}")
    if len(os.fsencode(path)) > MAX_UNIX_PATH:
        raise ValueError(f"the path has more than {MAX_UNIX_PATH} bytes, which no socket can have")
    return path
