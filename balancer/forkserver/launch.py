"""Start a fork server's process: when it is asked for, or before that, by way of precaution.

Half of a server's start is imports: the master's, and then, in another process, the workers'.  Who
knows early that there will be a server ``prepare``s its first fork server, which imports while the
master does; it is taken if, when it is asked for, nothing has changed that it has inherited.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from balancer.net.packets import packet_pair

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

__all__ = ["WORKER_ENTRY", "Launched", "forget", "launch", "prepare"]

WORKER_ENTRY = "balancer.worker.entry"
"""The module of the server's workers, by name: the fork server is below it."""
PARENTS_OWN = ("LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_", "BALANCER_UPGRADE")
"""What a service manager, or an old master, says to one process, which takes it out of its
environment."""


@final
@dataclass(frozen=True, slots=True)
class Launched:
    """A process, its pidfd and our end of its socket, all the holder's."""

    process: subprocess.Popen[bytes]
    pidfd: int  # from the start: when it dies there may be no descriptor left to see it by
    sock: socket.socket
    inherited: tuple[object, ...]

    def close(self) -> None:
        """It isn't wanted any more."""
        self.sock.close()
        self.process.kill()
        self.process.wait()
        os.close(self.pidfd)


_prepared: Launched | None = None  # this process's first, as there is one of its environment


def prepare(folder: str, variables: Mapping[str, str]) -> None:
    """Start one that may be asked for: in this folder, with these variables besides our own.

    Nothing happens where that can't be: what is wrong will be said by who asks for it.
    """
    global _prepared
    ours = {name: value for name, value in os.environ.items() if not name.startswith(PARENTS_OWN)}
    with suppress(OSError, ValueError):
        _prepared = _start(WORKER_ENTRY, os.path.realpath(folder), {**ours, **variables})


def forget() -> None:
    """The one that was prepared has not been asked for, and won't be; idempotent."""
    global _prepared
    if _prepared is not None:
        _prepared.close()
        _prepared = None


def launch(entry: str) -> Launched:
    """A process that imports ``entry`` and waits for its configuration; OSError."""
    global _prepared
    inherited = _inherited(entry, _real(os.curdir), os.environ)
    if _prepared is not None and _prepared.inherited == inherited:
        found, _prepared = _prepared, None
        if found.process.poll() is None:
            return found
        found.close()
    forget()
    return _start(entry, None, None)


def _start(entry: str, folder: str | None, environ: Mapping[str, str] | None) -> Launched:
    near, far = packet_pair()
    near.setblocking(False)
    try:
        with far:
            process = subprocess.Popen(
                [sys.executable, "-m", "balancer.forkserver", str(far.fileno()), entry],
                stdin=subprocess.DEVNULL,
                pass_fds=[far.fileno()],
                start_new_session=True,
                cwd=folder,
                env=environ,
            )
        pidfd = _open_pidfd(process)
    except BaseException:  # Ctrl-C too: until it is returned, this end is ours
        near.close()
        raise
    folder = _real(folder or os.curdir)
    return Launched(process, pidfd, near, _inherited(entry, folder, environ or os.environ))


def _open_pidfd(process: subprocess.Popen[bytes]) -> int:
    try:
        return os.pidfd_open(process.pid)
    except OSError:  # no descriptors
        process.kill()
        process.wait()
        raise


def _real(folder: str) -> str:
    """A folder without its links; one that has gone is still good enough to start in."""
    try:
        return os.path.realpath(folder)
    except OSError:
        return folder


def _inherited(entry: str, folder: str, environ: Mapping[str, str]) -> tuple[object, ...]:
    """What must be the same for one process to do for another."""
    return entry, folder, dict(environ), resource.getrlimit(resource.RLIMIT_NOFILE)
