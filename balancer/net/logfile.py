"""A file that several processes append lines to, and that can't hold any of them up.

What ends where:

* a regular file is opened with O_APPEND and each batch is one ``write``: the kernel holds the
  file's lock for its length, so lines of two workers never mix.  Such a write goes to the page
  cache; only a disk that is far behind can make it wait;
* a pipe takes at most PIPE_BUF bytes (4096) in one piece (pipe(7)), so batches are cut into pieces
  of whole lines below that.  Only a line that is longer by itself can be mixed with another's;
* when a pipe's reader is slow, or a disk is full, lines wait in memory, up to ``ROOM`` bytes; what
  comes then is dropped and counted, and the server's own log says how many were lost.

Renaming the file and then calling ``reopen`` loses no line: those that wait go to the old one.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import stat
import sys
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, final

from balancer.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.net.unix import FileAccess

__all__ = ["LogFile", "check_log_file", "make_log_file"]

logger = logging.getLogger("balancer")

STDOUT = "-"
ROOM = 1024 * 1024
"""Bytes that may wait for a reader that is slow."""
LAST_PATIENCE = 0.5
"""Seconds for the last lines."""
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
MODE = 0o644


def make_log_file(path: str, access: FileAccess) -> None:
    """Make it where there is none, for those who will write to it.

    Workers that are somebody else by then can't make one in root's folder, and couldn't open one
    of root's again after a rotation.  A file that is there stays whose it is: in a folder that the
    workers' user can write to, it might be a link to any other.  What doesn't work is no error
    here: whoever opens it will say so.
    """
    if path == STDOUT or access.user is None:
        return
    with suppress(OSError):  # FileExistsError above all
        with access.masked():
            fd = os.open(path, FLAGS | os.O_EXCL, MODE)
        try:
            os.fchown(fd, access.user, -1 if access.group is None else access.group)
        finally:
            os.close(fd)


def check_log_file(path: str, where: str) -> None:
    """See that it can be written; RunError, which begins with ``where``, when it can't."""
    try:
        LogFile(path).close()
    except OSError as error:
        reason = "nobody reads from it" if error.errno == errno.ENXIO else error.strerror
        raise RunError(f"{where} {path}: {reason}") from None


@final
class LogFile:
    """Owns its descriptor.  ``path`` ``-`` is standard output.  OSError: it can't be opened."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self._complained = False
        self._fd = -1
        self._largest = 0
        self._put: Callable[[bytes], int]
        self._adopt(_open(path))

    def write(self, lines: bytes) -> None:
        """Append whole lines; never waits and raises nothing."""
        if self._size > ROOM:
            self.retry()
        if self._size > ROOM:
            self._lost += lines.count(b"\n")
            return
        self._waiting.extend(_cut(lines, self._largest) if self._largest else [lines])
        self._size += len(lines)
        self.retry()

    def retry(self) -> bool:
        """Write what waits, as far as it goes; call it now and then.

        Returns whether the rest only needs a reader that is less slow.
        """
        waiting = self._waiting
        try:
            while waiting:
                piece = waiting[0]
                written = self._put(piece)
                self._size -= written
                if written == len(piece):
                    waiting.popleft()
                else:
                    waiting[0] = piece[written:]
        except OSError as error:
            self._complain(error)
            return isinstance(error, BlockingIOError)
        self._confess()
        return False

    def reopen(self) -> None:
        """Go on in a new file of that name; keep the old one when there can't be one."""
        if self._path == STDOUT:
            return
        self.retry()
        try:
            fd = _open(self._path)
        except OSError as error:
            logger.error(
                "access log %s: can't be reopened (%s); it goes on in the old file",
                self._path,
                error.strerror,
            )
            return
        os.close(self._fd)
        self._adopt(fd)

    def close(self) -> None:
        """Write what waits, for half a second at most, and close; idempotent."""
        if self._fd < 0:
            return
        deadline = time.monotonic() + LAST_PATIENCE
        while self.retry() and _wait_writable(self._fd, deadline):
            pass
        self._lost += sum(piece.count(b"\n") for piece in self._waiting)
        self._waiting.clear()
        self._confess()
        os.close(self._fd)
        self._fd = -1

    def _adopt(self, fd: int) -> None:
        self._fd = fd
        mode = os.fstat(fd).st_mode
        self._largest = 0 if stat.S_ISREG(mode) else select.PIPE_BUF
        if stat.S_ISSOCK(mode):
            self._put = self._send
        elif stat.S_ISREG(mode) or not os.get_blocking(fd):
            self._put = self._append
        else:
            self._put = self._append_after_poll

    def _append(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def _append_after_poll(self, data: bytes) -> int:
        """O_NONBLOCK belongs to a description that we share with others, so ask first."""
        if not _wait_writable(self._fd, 0.0):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return os.write(self._fd, data)

    def _send(self, data: bytes) -> int:
        """systemd's journal is a stream socket."""
        with socket.socket(fileno=os.dup(self._fd)) as sock:
            return sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def _complain(self, error: OSError) -> None:
        """Once, when the room is all taken: until then nothing is lost."""
        if self._complained or self._size <= ROOM:
            return
        self._complained = True
        reason = "its reader is too slow" if error.errno == errno.EAGAIN else error.strerror
        logger.warning("access log %s: %s; lines are lost from now on", self._path, reason)

    def _confess(self) -> None:
        if self._lost:
            logger.warning("access log %s: %d line(s) were lost", self._path, self._lost)
        self._lost = 0
        self._complained = False


def _open(path: str) -> int:
    if path != STDOUT:
        return os.open(path, FLAGS, MODE)
    # Python has no stdout when fd 1 was closed at start: that number may be a listener by now
    if sys.__stdout__ is None:
        raise OSError(errno.EBADF, "standard output is closed")
    mode = os.fstat(1).st_mode
    if stat.S_ISFIFO(mode) or os.isatty(1):
        # An open file description of our own, which can be non-blocking.  A regular file must not
        # have one: its offset is what keeps writers from overwriting each other.
        try:
            return os.open(
                "/proc/self/fd/1", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            )
        except OSError:  # it belongs to another user
            pass
    return os.dup(1)


def _wait_writable(fd: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    left = max(0.0, deadline - time.monotonic())
    return any(flags & select.POLLOUT for _, flags in poll.poll(left * 1000))


def _cut(lines: bytes, largest: int) -> list[bytes]:
    """Pieces of whole lines; one is longer than allowed only if it is a single line."""
    pieces: list[bytes] = []
    start = 0
    while len(lines) - start > largest:
        end = lines.rfind(b"\n", start, start + largest) + 1
        end = end or lines.index(b"\n", start) + 1
        pieces.append(lines[start:end])
        start = end
    pieces.append(lines[start:])
    return [piece for piece in pieces if piece]
