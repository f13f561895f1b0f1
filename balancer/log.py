"""The log: gunicorn's line on stderr, which never holds the server up.

``[2026-11-22 08:00:00 +0000] [pid] [LEVEL] message``

stderr is often a pipe to a log collector, and a collector that stops reading would stop a plain
``write`` for ever: the master would accept nothing because of a log line.  So each line is
written without blocking, and when there is no room, it is dropped and counted; the next line that
fits is preceded by the number of those lost.
"""

from __future__ import annotations

import logging
import os
import select
import stat
import sys
import time

__all__ = ["LineHandler", "Outlet", "configure", "has_stderr", "set_level"]

FORMAT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"
DATE_FORMAT = "%Y-%m-%d %H:%M:%S %z"

# A pipe is writable for poll() when PIPE_BUF bytes fit, and only writes up to that size are whole.
PIPE_BUF = select.PIPE_BUF
# How long a line may wait for a reader that is merely slow.
PATIENCE = 0.05


def configure(level: str = "info") -> None:
    """Send the ``balancer`` loggers to this process's stderr, from ``level`` up.

    May be called again, after a fork too; loggers of other names are left alone.
    """
    set_level(level)
    logger = logging.getLogger("balancer")
    logger.propagate = False
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    logger.addHandler(_stderr_handler())


def has_stderr() -> bool:
    """Whether this process's stderr is fd 2, and open: not so under a test runner, for one."""
    try:
        return sys.stderr is not None and sys.stderr.fileno() == 2
    except (OSError, ValueError):
        return False


def set_level(level: str) -> None:
    """Log from this level up, from now on."""
    logging.getLogger("balancer").setLevel(level.upper())


def _stderr_handler() -> logging.Handler:
    # Python has no sys.stderr when fd 2 was closed at start: that number may be a listener by now.
    if sys.stderr is None:
        return logging.NullHandler()
    try:
        handler: logging.Handler = LineHandler(sys.stderr.fileno())
    except (OSError, ValueError):
        # no file below it, as under a test runner, or closed since
        handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT, DATE_FORMAT))
    return handler


class Outlet:
    """Writes to a file descriptor, which it doesn't own, without ever blocking on it."""

    def __init__(self, fd: int) -> None:
        self._target = fd
        self._own = _reopen(fd)

    def fileno(self) -> int:
        """What to wait on, when there was no room."""
        return self._target if self._own is None else self._own

    def wait(self, seconds: float) -> bool:
        """Wait for room, blocking; False when there was none."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def write_some(self, data: bytes) -> int:
        """Write what there is room for, after ``wait`` or on the chance; how much that was."""
        if self._own is None and not self.wait(0.0):
            return 0
        try:
            return os.write(self.fileno(), data[:PIPE_BUF])
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Close what is its own; idempotent."""
        if self._own is not None:
            os.close(self._own)
            self._own = None


class LineHandler(logging.Handler):
    """Writes records to a file descriptor, which it doesn't own, without ever blocking on it."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._outlet = Outlet(fd)
        self._patience = PATIENCE
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except (TypeError, ValueError, KeyError) as error:
            # arguments that don't fit the message: a bug of the caller, but no reason to die
            line = f"{record.msg!r} % {record.args!r}: {error!r}"
        lost = f"({self._dropped} log lines were lost here)\n" if self._dropped else ""
        self._dropped = 0 if self._write(f"{lost}{line}\n") else self._dropped + 1

    def close(self) -> None:
        self._outlet.close()
        super().close()

    def _write(self, text: str) -> bool:
        """Write it all; False when (the rest of) it found no room, or nobody to read it."""
        data = text.encode("utf-8", "backslashreplace")
        deadline = time.monotonic() + self._patience
        try:
            while data:
                if not self._wait(deadline):
                    # until a line gets through, the others don't wait
                    self._patience = 0
                    return False
                data = data[self._outlet.write_some(data) :]
        except OSError:
            # EPIPE, EIO of a terminal that has gone, ENOSPC: there is nowhere to say so
            return False
        self._patience = PATIENCE
        return True

    def _wait(self, deadline: float) -> bool:
        return self._outlet.wait(max(0.0, deadline - time.monotonic()))


def _reopen(fd: int) -> int | None:
    """The same pipe through an open file description of our own, which can be non-blocking.

    O_NONBLOCK belongs to the description, which we share with the shell that started us and with
    the app's own output.  Other kinds of files, and a pipe that we may not open (it belongs to
    another user), are written to after a poll: only another writer of the same pipe, in the
    moment between, could make that block.
    """
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        return None
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
