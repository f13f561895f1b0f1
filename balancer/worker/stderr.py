"""This process's stderr: whose it is, and what becomes of it when the master is gone.

A worker of the library writes into the program's pipes.  A worker in a slot that has lost one
writes into the master's (``master.relay``), and keeps two things for the day on which the master
is killed: the server's own stderr, to return to, and the pipe's reading end, so that until then
nobody gets an EPIPE or a SIGPIPE for a line of text, neither the app nor what it has started.
"""

from __future__ import annotations

import io
import logging
import os
import select
import sys
import threading
from contextlib import suppress

from balancer import log

__all__ = ["WAY_BACK", "redirect", "take_back"]

WAY_BACK = "stderr_back"
"""The name of the pipe's reading end, among a worker's extras."""

_own: int | None = None  # fd 2 is the process's, and so is this
_back: int | None = None


def redirect(extras: dict[str, int]) -> None:
    """Print into what came with the spawn, line by line; owns the descriptors."""
    global _own, _back
    if WAY_BACK in extras:
        _own, _back = os.dup(2), extras[WAY_BACK]
    for number, name in ((1, "stdout"), (2, "stderr")):
        if name in extras:
            os.dup2(extras[name], number)
            os.close(extras[name])
            stream = getattr(sys, name)
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True)


def take_back() -> None:
    """The master is gone: print as if there had never been a pipe."""
    global _own
    if _own is None or _back is None:
        return
    os.dup2(_own, 2)
    os.close(_own)
    _own = None
    log.configure(logging.getLevelName(logging.getLogger("balancer").level))
    # what is in the pipe, and what those still write who have inherited it
    threading.Thread(target=_pump, args=(_back,), name="stderr", daemon=True).start()


def _pump(back: int) -> None:
    poll = select.poll()  # it doesn't block: the master shared it
    poll.register(back, select.POLLIN)
    with suppress(OSError):
        while poll.poll():
            data = os.read(back, 65536)
            if not data:
                break
            os.write(2, data)
