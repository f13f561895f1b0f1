"""How many CPUs this process may really use.

``os.cpu_count()`` is the machine's.  A process may be pinned to fewer (``taskset``, cpusets), and a
container usually has them all but only so many microseconds of them per period: with four workers
on a quota of one CPU, all four are throttled together.  So: the affinity mask, cut by the smallest
quota of this process's cgroup and its ancestors, rounded up.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["usable_cpus"]

MAX_WORKERS = 1024


def usable_cpus(root: Path = Path("/")) -> int:
    """CPUs this process may use, from 1 to 1024: affinity, cgroup v1 and v2 quotas."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min((quota for quota in _quotas(root)), default=math.inf)
    return max(1, min(cpus, MAX_WORKERS, math.ceil(quota) if quota < cpus else cpus))


def _quotas(root: Path) -> list[float]:
    """Every quota that applies to this process, in CPUs."""
    mount = root / "sys/fs/cgroup"
    found: list[float] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0":
            for folder in [mount, mount / "unified"]:
                found += [_v2(level) for level in _levels(folder, path)]
        elif "cpu" in controllers.split(","):
            for folder in [mount / controllers, mount / "cpu"]:
                found += [_v1(level) for level in _levels(folder, path)]
    return found


def _levels(mount: Path, path: str) -> list[Path]:
    """The cgroup's folder and its ancestors'.

    In a container without a cgroup namespace the path is the host's, of which only the root (the
    container's own cgroup) is mounted; the folders that don't exist say nothing.
    """
    parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]


def _v2(folder: Path) -> float:
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    return _ratio(quota, period)


def _v1(folder: Path) -> float:
    return _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float:
    """CPUs; infinite for v2's ``max``, v1's -1, and a file that isn't there."""
    try:
        cpus = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return math.inf
    return cpus if cpus > 0 else math.inf


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
