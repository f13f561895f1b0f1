"""Names that are known without asking: those of /etc/hosts, and localhost."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import final

__all__ = ["Hosts", "parse_hosts"]

LOOPBACK = ("127.0.0.1", "::1")


def parse_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Addresses by name, which is in lower case; lines that are none are left out (hosts(5))."""
    found: dict[str, dict[str, None]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if _is_address(address):
            for name in names:
                found.setdefault(name.lower(), {})[address] = None
    return {name: tuple(addresses) for name, addresses in found.items()}


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):  # ValueError: a NUL
            socket.inet_pton(family, text)
            return True
    return False


@final
class Hosts:
    """The file, read again when it has changed: containers' engines write into it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._state: tuple[int, ...] | None = None
        self._names: dict[str, tuple[str, ...]] = {}

    def find(self, name: str) -> tuple[str, ...]:
        """A name's addresses; none when others have to be asked."""
        name = name.lower().removesuffix(".")
        self._refresh()
        known = self._names.get(name, ())
        # RFC 6761 6.3: no name server is asked for these
        return known or (LOOPBACK if name.rpartition(".")[2] == "localhost" else ())

    def _refresh(self) -> None:
        try:
            found = os.stat(self._path)
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            if state != self._state:
                with open(self._path, encoding="utf-8", errors="replace") as file:
                    self._names = parse_hosts(file.read())
                self._state = state
        except OSError:  # it isn't there, or is being replaced: what it said holds
            pass
