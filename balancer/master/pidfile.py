"""The pid file: written whole or not at all, and never over a live server's.

A pid in an old file says little by itself: pids are reused, and in containers the first few always
are (every container's server is pid 1, or 7).  So the file is stale when nobody has its pid, when
we have it, and when who has it was started after the file was written, which then was by somebody
else.  A master that is to replace another one may have that one's file, and writes it when it does.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, final

from balancer.errors import RunError
from balancer.net.unix import lock_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PidFile", "pid_file"]

logger = logging.getLogger("balancer")

# start times are in ticks of 10 ms since boot, which is known to a second
TOLERANCE = 2.0
_PID = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


@final
class PidFile:
    """A pid file that this process may write; without a path there is none."""

    def __init__(self, path: str | None, where: str) -> None:
        self._path = None if path is None else Path(path)
        self._where = where

    def claim(self) -> None:
        """Write it, unless it is another live process's: then RunError."""
        if self._path is not None:
            with self._explained(), lock_folder(str(self._path)):  # two servers that start together
                _check_stale(self._path, None)
                _write(self._path)

    def check(self, predecessor: int) -> None:
        """RunError when it is another live process's, but for the predecessor's."""
        if self._path is not None:
            with self._explained():
                _check_stale(self._path, predecessor)

    def write(self) -> None:
        """Write this process's pid, whatever is there; RunError when that can't be."""
        if self._path is not None:
            with self._explained():
                _write(self._path)

    def keep(self) -> None:
        """Write it again, if somebody else has: one who was to be the next master, and isn't."""
        if not self._is_ours():
            try:
                self.write()
            except RunError as error:
                logger.error("%s", error)

    def remove(self) -> None:
        """Only if it still says this process: after an upgrade it names the next master."""
        if self._path is not None and self._is_ours():
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _is_ours(self) -> bool:
        try:
            text = Path(self._path or "").read_text(errors="replace")
        except OSError:
            return False
        return text.strip() == str(os.getpid())

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or error
            raise RunError(f"{self._where} {self._path}: {why}") from None


@contextlib.contextmanager
def pid_file(
    path: str | None, where: str = "-p", predecessor: int | None = None
) -> Iterator[PidFile]:
    """Keep this process's pid in a file while the body runs.

    Args:
        path: The file; None does nothing.
        where: Where it was given, to begin an error message with.
        predecessor: The master that this one is to replace: the file may be that one's, and is
            written by the body, when the server is this one's.

    Raises:
        RunError: it is another live process's, or can't be written.
    """
    file = PidFile(path, where)
    if predecessor is None:
        file.claim()
    else:
        file.check(predecessor)
    try:
        yield file
    finally:
        file.remove()


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


def _check_stale(path: Path, predecessor: int | None) -> None:
    """See that there is no file, or one of a server that has gone, or makes way.

    Raises:
        OSError: its process lives, or it is some other file, which a slip of the finger named.
    """
    try:
        text = path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return
    if text and not _PID.fullmatch(text):
        raise FileExistsError(errno.EEXIST, "there is a file that holds no pid")
    if (
        text
        and int(text) not in {os.getpid(), predecessor}
        and _wrote(int(text), path.stat().st_mtime)
    ):
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
