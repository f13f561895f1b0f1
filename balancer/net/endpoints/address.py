"""Addresses in words: an IPv4 or IPv6 address fits into the table, a socket's path doesn't."""

from __future__ import annotations

import socket

__all__ = ["Address", "pack_address", "show_address", "unpack_address"]

Address = tuple[int, tuple[str, int] | tuple[str, int, int, int] | str]
"""Family and what ``connect`` takes.  For ``AF_UNIX`` that is "" in the table: the path is the
upstream's, which the row names."""

LOW = (1 << 64) - 1


def pack_address(address: Address) -> tuple[int, int, int, int, int]:
    """Family, port, scope and the two halves of the address.

    Raises:
        ValueError: there is no such address of this family.
    """
    family, target = address
    if family == socket.AF_UNIX:
        return family, 0, 0, 0, 0
    if isinstance(target, str):
        raise ValueError(f"an address of family {family} is a tuple")
    host, port, *rest = target
    try:
        # getaddrinfo leaves the interface out of the text and gives its number
        number = int.from_bytes(socket.inet_pton(family, host), "big")
    except OSError:
        raise ValueError(f"no address of family {family}: {host}") from None
    return family, port, rest[1] if rest else 0, number >> 64, number & LOW


def unpack_address(family: int, port: int, scope: int, high: int, low: int) -> Address:
    """What was packed, but for a flow label, which nobody sets, and for a path."""
    if family == socket.AF_UNIX:
        return family, ""
    if family == socket.AF_INET:
        return family, (socket.inet_ntop(family, low.to_bytes(4, "big")), port)
    packed = (high << 64 | low).to_bytes(16, "big")
    return family, (socket.inet_ntop(family, packed), port, 0, scope)


def show_address(address: Address) -> str:
    """``HOST:PORT``, the same text everywhere; "" for a path, which isn't here."""
    target = address[1]
    if isinstance(target, str):
        return target
    host, port = target[:2]
    scope = target[3] if len(target) > 3 and target[3] else 0
    return f"[{host}{f'%{scope}' if scope else ''}]:{port}" if ":" in host else f"{host}:{port}"
