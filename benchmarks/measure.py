"""What processes cost: CPU time and memory, read from outside.

Theory: /proc/PID/stat counts in ticks of 10 ms and /proc/PID/schedstat only the main thread; the
process's CPU clock (clock_getcpuclockid(3)) has nanoseconds, covers every thread, also those that
have ended, and one system call reads it. Memory is PSS: pages shared by n processes count 1/n, so
that the sum over a server's processes is what the server really takes.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CPUCLOCK_SCHED = 2  # glibc's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)


def cpu_seconds(pid: int) -> float:
    """User and system CPU time of a process so far, all threads; ProcessLookupError when gone."""
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError as error:
        raise ProcessLookupError(f"no process {pid}") from error


@dataclass(frozen=True, slots=True)
class CpuSnapshot:
    """CPU seconds by pid at one moment."""

    by_pid: dict[int, float]

    @classmethod
    def take(cls, pids: Iterable[int]) -> CpuSnapshot:
        spent = {}
        for pid in pids:
            try:
                spent[pid] = cpu_seconds(pid)
            except ProcessLookupError:
                continue
        return cls(spent)

    def since(self, earlier: CpuSnapshot, pids: Iterable[int] | None = None) -> float:
        """CPU seconds spent since `earlier` by `pids` (None: all that are in this snapshot)."""
        wanted = self.by_pid if pids is None else set(pids) & set(self.by_pid)
        return sum(self.by_pid[pid] - earlier.by_pid.get(pid, 0.0) for pid in wanted)


def pss_bytes(pid: int) -> int:
    """Proportional set size; ProcessLookupError when the process is gone or not ours."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError as error:
        raise ProcessLookupError(f"no memory map of {pid}") from error
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"no memory map of {pid}")


def rss_bytes(pid: int) -> int:
    """Resident set size, shared pages counted in full; ProcessLookupError when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError as error:
        raise ProcessLookupError(f"no memory map of {pid}") from error
    return pages * os.sysconf("SC_PAGE_SIZE")


def slab_bytes() -> int:
    """What the kernel holds in small objects, sockets and their files among them; machine-wide."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1]) * 1024
    return 0


def command_line(pid: int) -> str:
    """The process's arguments, joined; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class ProcessEntry:
    """One living process: what /proc/PID/stat says of its place in the tree."""

    pid: int
    parent: int
    session: int


def processes() -> dict[int, ProcessEntry]:
    """All living processes by pid; zombies are dead."""
    entries = (_entry(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {entry.pid: entry for entry in entries if entry is not None}


def _entry(pid: int) -> ProcessEntry | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None  # gone since the folder was listed
    # The name, in parentheses, may hold anything; the fields after it are fixed.
    state, parent, _, session = stat.rpartition(")")[2].split()[:4]
    return None if state in {"Z", "X"} else ProcessEntry(pid, int(parent), int(session))
