"""Who has an address that can't be bound: asked when it is in use, to name the process.

The kernel lists listening sockets with their inode numbers, and each process's descriptors name the
inodes of its sockets: ``/proc/net/tcp``, ``tcp6`` and ``unix``, then ``/proc/*/fd``.  The
descriptors of others can only be read by root, and those in another container not at all; then
nobody is named.

Source: proc(5); Documentation/networking/proc_net_tcp.rst.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["holder_of_path", "holder_of_port"]

LISTEN = "0A"


def holder_of_port(family: int, address: tuple[str, int], proc: str = "/proc") -> str:
    """Who listens where a TCP address can't be bound for that: `` by nginx (pid 123)``, or nothing.

    That is the address itself, or a wildcard on the port, also of the other family.
    """
    host, _, _scope = address[0].partition("%")
    return _name(set(_listening(family, (host, address[1]), Path(proc))), Path(proc))


def holder_of_path(path: str, proc: str = "/proc") -> str:
    """The same for a UNIX socket."""
    inodes = set()
    for line in _lines(Path(proc, "net/unix")):
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7] in {path, os.path.abspath(path)}:
            inodes.add(fields[6])
    return _name(inodes, Path(proc))


def _listening(family: int, address: tuple[str, int], proc: Path) -> Iterator[str]:
    for name, other in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        wildcard = socket.inet_pton(other, "::" if other == socket.AF_INET6 else "0.0.0.0")
        for line in _lines(proc / "net" / name):
            _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
            host, _, port = local.partition(":")
            if state != LISTEN or int(port, 16) != address[1]:
                continue
            bound = _packed(host)
            meant = {socket.inet_pton(family, address[0])} if other == family else set()
            if bound in meant | {wildcard} or _is_wildcard(family, address[0]):
                yield inode


def _is_wildcard(family: int, host: str) -> bool:
    return not any(socket.inet_pton(family, host))


def _packed(host: str) -> bytes:
    """Words of 32 bits, each in the machine's order."""
    data = bytes.fromhex(host)
    words = [data[start : start + 4] for start in range(0, len(data), 4)]
    return b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)


def _name(inodes: set[str], proc: Path) -> str:
    """The first process that has one of them; the lowest number is the parent, as a rule."""
    wanted = {f"socket:[{inode}]" for inode in inodes if inode != "0"}
    if not wanted:
        return ""
    for pid in sorted(int(name) for name in _names(proc) if name.isdecimal()):
        for fd in _names(proc / str(pid) / "fd"):
            with suppress(OSError):
                if os.readlink(proc / str(pid) / "fd" / fd) in wanted:
                    if pid == os.getpid():
                        return (
                            " by this process: is it given twice? (a reload can't widen an address)"
                        )
                    command = (proc / str(pid) / "comm").read_text().strip()
                    return f" by {command} (pid {pid})"
    return ""


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _lines(path: Path) -> list[str]:
    """A table's lines without its title."""
    try:
        return path.read_text(errors="replace").splitlines()[1:]
    except OSError:
        return []
