"""One server process and everything it starts, from start to proven end.

Theory: a server is known by its log. Its output goes through a pipe to a thread that stamps each
line with its arrival and wakes whoever waits for it, so nobody sleeps and a line's time is good to
a millisecond; the lines are kept in a file too. What it starts is known by an environment variable
with a random value, which orphans and children in sessions of their own keep.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Self

from benchmarks.measure import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

_MARK = "LAB_RUN_ID"


class ProcessError(Exception):
    """A server did not do what was waited for; the message carries the end of its log."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of output and the monotonic time at which it arrived, in seconds."""

    at: float
    text: str


class ServerProcess:
    """A command in its own session, its output captured, its descendants accounted for.

    `start()` spawns it; `close()` (or leaving the context) kills what is left, without judging:
    whoever cares about a clean end calls `stop()` first and looks at `survivors()`.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        wrap_stdin: bool = False,
    ) -> None:
        self.argv = list(argv)
        self._log = log
        self._mark = uuid.uuid4().hex
        self._env = {**os.environ, **(env or {}), _MARK: self._mark}
        self._cwd = cwd
        self._wants_stdin = wrap_stdin
        self._lines: list[LogLine] = []
        self._changed = threading.Condition()
        self._ended = False
        self._popen: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code; -N for death by signal N; None while it runs."""
        return self._process.poll()

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise ProcessError(f"{self.argv[0]} was not started")
        return self._popen

    def start(self) -> None:
        self._popen = subprocess.Popen(
            self.argv,
            stdin=subprocess.PIPE if self._wants_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._env,
            cwd=self._cwd,
            start_new_session=True,
        )
        self._pump = threading.Thread(target=self._read_log, name="log pump", daemon=True)
        self._pump.start()

    def write(self, line: str) -> None:
        """One line to the process's standard input."""
        stdin = self._process.stdin
        if stdin is None:
            raise ProcessError("the process was started without a standard input")
        stdin.write(line.encode() + b"\n")
        stdin.flush()

    # The log.

    def _read_log(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        with stream, open(self._log or os.devnull, "ab", buffering=0) as copy:
            for raw in stream:
                copy.write(raw)
                line = LogLine(monotonic(), raw.decode(errors="replace").rstrip("\n"))
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def log(self) -> list[LogLine]:
        with self._changed:
            return list(self._lines)

    def log_lines(self) -> list[str]:
        return [line.text for line in self.log()]

    def wait_for_line(self, pattern: str, *, deadline: float = 10.0, after: int = 0) -> LogLine:
        """The first line from number `after` on that matches; ProcessError when none comes."""
        return self.wait_for_lines(pattern, 1, deadline=deadline, after=after)[0]

    def wait_for_lines(
        self, pattern: str, count: int, *, deadline: float = 10.0, after: int = 0
    ) -> list[LogLine]:
        """The first `count` lines from number `after` on that match (`re.search`)."""
        wanted = re.compile(pattern)

        def matches() -> list[LogLine]:
            return [line for line in self._lines[after:] if wanted.search(line.text)]

        with self._changed:
            found = self._changed.wait_for(
                lambda: len(matches()) >= count or self._ended, timeout=deadline
            )
            if len(matches()) >= count:
                return matches()[:count]
        why = "its log ended" if found else f"not within {deadline:g} s"
        raise ProcessError(f"no log line matches {pattern!r} ({why}){self.tail()}")

    def tail(self, lines: int = 40) -> str:
        """The end of the log as an indented block, for error messages."""
        last = self.log_lines()[-lines:]
        return "".join(f"\n    | {line}" for line in last) or "\n    | (no output)"

    # The end.

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, deadline: float) -> int:
        """The exit code, once it has ended; ProcessError when it has not in time."""
        if not _ended_within(self._process, deadline):
            raise ProcessError(f"pid {self.pid} still runs after {deadline:g} s{self.tail()}")
        return self._process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM, *, deadline: float = 10.0) -> int:
        """Signal it (unless it has ended) and wait; returns the exit code."""
        if self._process.poll() is None:
            self.send_signal(number)
        return self.wait(deadline)

    def family(self) -> set[int]:
        """The pids of this process and of all it started that live now (zombies don't).

        Three ways to belong: the mark, the session, a parent that belongs. nginx writes its title
        over its environment, and the fork server has a session of its own.
        """
        living = processes()
        marked = f"{_MARK}={self._mark}".encode()
        family = {
            entry.pid
            for entry in living.values()
            if entry.session == self.pid or marked in _environ(entry.pid)
        }
        while children := {e.pid for e in living.values() if e.parent in family} - family:
            family |= children
        return family

    def survivors(self, *, deadline: float = 0.0) -> set[int]:
        """Pids of the family that outlive `deadline` seconds of waiting for them to go."""
        return wait_until_gone(self.family, deadline)

    def close(self) -> None:
        """Kill whatever is left of the family, and reap."""
        if self._popen is None:
            return
        for pid in self.family() | ({self.pid} if self._popen.poll() is None else set()):
            _kill(pid, signal.SIGKILL)
        self._popen.wait()
        wait_until_gone(self.family, 5.0)
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        if self._pump is not None:
            self._pump.join(5.0)


def wait_until_gone(living: Callable[[], set[int]], deadline: float) -> set[int]:
    """Wait up to `deadline` seconds for `living()` to become empty; returns who is left.

    Other people's children can't be waited for, but their pidfds can.
    """
    until = monotonic() + deadline
    while (left := living()) and monotonic() < until:
        for pid in left:
            _wait_for_exit(pid, max(0.0, until - monotonic()))
    return left


def _wait_for_exit(pid: int, seconds: float) -> bool:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], (), (), seconds)[0])
    finally:
        os.close(fd)


def _ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    if process.poll() is not None:
        return True
    return _wait_for_exit(process.pid, seconds)


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
