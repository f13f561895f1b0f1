"""balancer's control socket: what the master counts, asked by the harness itself.

The protocol is spoken here and not imported, since the harness measures other checkouts too.  A
question costs the master about 2.5 ms, measured (it adds up the memory of its processes), so it is
asked seldom, and `server.py` knows the cost by heart.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Counters", "StatusError", "counters", "read_counters"]

_QUESTION = b'{"do":"status","v":1}\n'
_PATIENCE = 5.0  # seconds


class StatusError(Exception):
    """The master didn't answer, or not so that it could be understood."""


@final
@dataclass(frozen=True, slots=True)
class Counters:
    """Sums over the listeners, and the workers' pids by slot."""

    accepted: int
    queued: int
    recalled: int
    pids: dict[int, int]


def counters(control: str) -> Counters:
    """Ask once; StatusError after five seconds without an answer."""
    received = bytearray()
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(_PATIENCE)
            sock.connect(control)
            sock.sendall(_QUESTION)
            while not received.endswith(b"\n"):
                piece = sock.recv(65536)
                if not piece:
                    raise StatusError("the control socket was closed without an answer")
                received += piece
    except OSError as error:
        raise StatusError(f"the control socket: {error}") from error
    try:
        return read_counters(json.loads(received))
    except (ValueError, KeyError, TypeError) as error:
        raise StatusError(f"the control socket's answer can't be read: {error!r}") from error


def read_counters(reply: dict[str, Any]) -> Counters:
    """What a reply says."""
    result = reply["result"]
    listeners = result["listeners"]
    return Counters(
        sum(one["accepted"] for one in listeners),
        sum(one["queued"] for one in listeners),
        sum(one["recalled"] for one in listeners),
        {one["slot"]: one["pid"] for one in result["workers"] if one["pid"]},
    )
