"""Who may bind the path of a UNIX socket.

A socket file outlives a server that was killed, so one that nobody listens on is replaced; one that
somebody listens on never (nginx refuses both, gunicorn and systemd replace both), and what is no
socket is not touched.

Between that look and listen() two servers that start together could each remove the other's, so
the folder is locked meanwhile.  Not a lock file: it would stay behind.  Not a rename over the path,
HAProxy's way: of two servers the first would go on serving a socket that nobody can reach, and
never know.  The kernel lets go of the lock of a process that was killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FileAccess", "bind_path", "identity", "lock_folder"]

PATIENCE = 2.0
"""Seconds for another server to look and listen, which takes it some milliseconds."""
KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
}


@dataclass(frozen=True, slots=True)
class FileAccess:
    """For whom a file is that the master makes; None leaves it as it would be.

    To connect to a UNIX socket is to write to it: with the usual mask, 022, only its owner can.
    """

    umask: int | None = None
    user: int | None = None
    group: int | None = None

    @contextmanager
    def masked(self) -> Iterator[None]:
        """What is made meanwhile has these permissions; for a moment that holds for all threads.

        Not chmod() afterwards: it follows a link that somebody puts there in between.
        """
        before = None if self.umask is None else os.umask(self.umask)
        try:
            yield
        finally:
            if before is not None:
                os.umask(before)

    def give(self, path: str) -> None:
        """Give it its owner; a link is not followed."""
        if self.user is not None or self.group is not None:
            user, group = (-1 if each is None else each for each in (self.user, self.group))
            os.chown(path, user, group, follow_symlinks=False)


OURS = FileAccess()


@contextmanager
def lock_folder(path: str) -> Iterator[None]:
    """Hold the folder of a socket against other servers, from before ``bind_path`` to listen()."""
    try:
        fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # bind() will say why, or works: a folder may be writable and not readable
        yield
        return
    try:
        _lock(fd)
        yield
    finally:
        os.close(fd)


def _lock(fd: int) -> None:
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sleep(0.01)
        except OSError:  # NFS locks no folders
            return
        else:
            return
    # Whoever can read a folder can lock it, for ever: that must not keep a server from starting.


def bind_path(path: str, access: FileAccess = OURS) -> socket.socket:
    """Bind a path; a socket file that nobody listens on any more is replaced.

    ``access`` holds before anybody can connect, which needs listen().
    """
    _make_way(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with access.masked():
            sock.bind(path)
        access.give(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _make_way(path: str) -> None:
    with suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not stat.S_ISSOCK(mode):
            kind = KINDS.get(stat.S_IFMT(mode), "a device")
            raise OSError(errno.EEXIST, f"this is {kind}, not a socket, and it is not removed")
        if not _answers(path):
            os.unlink(path)


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError:
            return True  # full or not for us: alive all the same
    return True


def identity(path: str) -> tuple[int, int] | None:
    """What tells the file from another one that took its path, as long as it is in use."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
