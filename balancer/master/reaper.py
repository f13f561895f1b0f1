"""Being process 1, or a subreaper: who else's children end here is buried here.

In a container the master is often process 1, and the kernel makes it the parent of every process
whose own has gone: what an app started and left behind, and the workers of a fork server that was
killed.  When such a one ends, somebody has to ask for its exit status, or it stays a zombie, and
thousands of them are all the processes that there may be.

``waitpid(-1)``, as in a small init, would take the statuses that trio and ``subprocess`` wait for.
So only those children are reaped of whom nobody here can want to know:

* not those we hold a pidfd of, as trio does of everything it starts (fork servers, the watcher),
  and the supervisor of every worker that isn't buried yet;
* not those of our own session, which a hook started in the master by ``subprocess``: whatever comes
  by way of a fork server is in another session;
* not before the second look, a second later, as who was just started isn't known at once.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["inherits_orphans", "reap_orphans"]

logger = logging.getLogger("balancer")

PAUSE = 1.0
"""Seconds between the looks, however many die."""
PR_GET_CHILD_SUBREAPER = 37
"""From linux/prctl.h; Python doesn't have prctl()."""
PARENT, SESSION = 1, 3
"""Places in /proc/PID/stat, counted from the state, which is behind the name in brackets."""


def inherits_orphans() -> bool:
    """Whether the kernel makes this process the parent of its descendants' orphans."""
    return os.getpid() == 1 or _is_subreaper()


def _is_subreaper() -> bool:
    answer = ctypes.c_int(0)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    except (AttributeError, OSError):  # not Linux
        return False
    return not failed and bool(answer.value)


async def reap_orphans() -> None:
    """Bury them until cancelled; one look a second for all that end within it."""
    suspects: set[int] = set()
    with trio.open_signal_receiver(signal.SIGCHLD) as deaths:
        while True:
            try:
                dead, awaited = _look()
            except OSError:  # no descriptors left: they can wait
                await trio.sleep(PAUSE)
                continue
            orphans = dead - awaited
            for pid in orphans & suspects:
                _reap(pid)
            suspects = orphans - suspects
            # whose pidfd is closed before they were waited for: nothing tells of that
            if not suspects and not dead & awaited:
                await deaths.__anext__()
            await trio.sleep(PAUSE)


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None:
            logger.debug("reaped process %d, which others had left behind", pid)


def _look() -> tuple[set[int], set[int]]:
    """Children that have ended and that others have started; and processes that are waited for."""
    own, session = os.getpid(), os.getsid(0)
    dead = {pid for pid in _processes() if _is_orphan(pid, own, session)}
    return dead, _held_by_pidfd() if dead else set()


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _is_orphan(pid: int, parent: int, session: int) -> bool:
    """Whether this is a zombie, a child of ours, and started by somebody else."""
    try:
        # the name of the command is in brackets, and may hold any byte
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return fields[0] == b"Z" and int(fields[PARENT]) == parent and int(fields[SESSION]) != session


def _held_by_pidfd() -> set[int]:
    held = set()
    for fd in os.listdir("/proc/self/fd"):
        # The listing's own is closed by now.  Any other error would make an orphan of a process
        # that is waited for.
        with suppress(FileNotFoundError):
            if "pidfd" in os.readlink(f"/proc/self/fd/{fd}"):
                held.add(_pid_of(Path(f"/proc/self/fdinfo/{fd}").read_text()))
    return held


def _pid_of(info: str) -> int:
    """The process of a pidfd; -1 when it is gone."""
    return next((int(line[4:]) for line in info.splitlines() if line.startswith("Pid:")), -1)
