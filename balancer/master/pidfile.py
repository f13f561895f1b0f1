"""The pid file: written whole or not at all, and never over a live server's.

A pid in an old file says little by itself: pids are reused, and in containers the first few always
are (every container's server is pid 1, or 7).  So the file is stale when nobody has its pid, when
we have it, and when who has it was started after the file was written, which then was by somebody
else.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from balancer.errors import RunError
from balancer.net.unix import lock_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["pid_file"]

# start times are in ticks of 10 ms since boot, which is known to a second
TOLERANCE = 2.0
_PID = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


@contextlib.contextmanager
def pid_file(path: str | None, where: str = "-p") -> Iterator[None]:
    """Keep this process's pid in a file while the body runs.

    Args:
        path: The file; None does nothing.
        where: Where it was given, to begin an error message with.

    Raises:
        RunError: it is another live process's, or can't be written.
    """
    if path is None:
        yield
        return
    try:
        with lock_folder(path):  # two servers that start together
            _check_stale(Path(path))
            _write(Path(path))
    except OSError as error:
        raise RunError(f"{where} {path}: {error.strerror or error}") from None
    try:
        yield
    finally:
        _remove(Path(path))


def _write(path: Path) -> None:
    """Write our pid, in one step for whoever reads it."""
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(f"{os.getpid()}\n")
            # mkstemp's 0600 would hide it from the monitoring that pid files are for
            os.fchmod(file.fileno(), 0o644)
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _check_stale(path: Path) -> None:
    """See that there is no file, or one of a server that has gone.

    Raises:
        OSError: its process lives, or it is some other file, which a slip of the finger named.
    """
    try:
        text = path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return
    if text and not _PID.fullmatch(text):
        raise FileExistsError(errno.EEXIST, "there is a file that holds no pid")
    if text and int(text) != os.getpid() and _wrote(int(text), path.stat().st_mtime):
        raise FileExistsError(errno.EEXIST, f"process {text}, which is alive, has this pid file")


def _wrote(pid: int, written: float) -> bool:
    """Whether the process that has this pid now can have written a file at that time."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    started = _start_time(pid)
    return started is None or started <= written + TOLERANCE


def _start_time(pid: int) -> float | None:
    """When a process started, in seconds of ``time.time()``; None where there is no /proc.

    One that has ended, and whose parent doesn't care, never wrote anything: it started never.
    """
    try:
        # the second field is the command, in brackets, and may hold any byte
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    if fields[0] == b"Z":
        return math.inf
    since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot


def _remove(path: Path) -> None:
    """Only if it still says this process: after an upgrade it names the next master."""
    with contextlib.suppress(OSError):
        if path.read_text(errors="replace").strip() == str(os.getpid()):
            path.unlink()
