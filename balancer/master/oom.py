"""Whether it was the kernel, for want of memory, that killed a worker.

A SIGKILL doesn't say who sent it.  The kernel counts its own, per control group (``oom_kill`` in
``memory.events``; of version 1, in ``memory.oom_control``), and for the whole machine
(``/proc/vmstat``), before it sends the signal.  So when the count has grown since the last look, a
worker that was killed was killed by it.  Another process of the same group may be meant, in truth:
then memory is what it is about, still.

Source: Documentation/admin-guide/cgroup-v2.rst, "Memory Interface Files"; cgroup-v1/memory.rst.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import final

__all__ = ["OutOfMemory"]

UNLIMITED = 1 << 60
"""What version 1 says where no limit is set is a little less than 2**63."""


@final
class OutOfMemory:
    """The kernel's count; ``root`` is another folder than ``/`` for tests."""

    def __init__(self, root: str = "/") -> None:
        self._top, self._group, self._is_v2 = _own_group(Path(root))
        self._machine = Path(root, "proc/vmstat")
        self._seen = self._count()

    def explain(self) -> str | None:
        """Asked once per worker that SIGKILL ended: what the kernel did, if it was the kernel."""
        count = self._count()
        if count <= self._seen:
            self._seen = count
            return None
        self._seen += 1
        limit = self._limit()
        why = "the machine has no more" if limit is None else f"cgroup limit {_size(limit)}"
        return f"was killed by the kernel for want of memory ({why})"

    def look(self) -> None:
        """What was counted so far has killed others: asked when a worker starts."""
        self._seen = self._count()

    def _count(self) -> int:
        name = "memory.events" if self._is_v2 else "memory.oom_control"
        for path in (self._group / name, self._machine):
            for line in _read(path).splitlines():
                word, _, number = line.partition(" ")
                if word == "oom_kill":
                    return int(number)
        return 0

    def _limit(self) -> int | None:
        """The tightest limit of the group and those around it."""
        name = "memory.max" if self._is_v2 else "memory.limit_in_bytes"
        limits = []
        for folder in (self._group, *self._group.parents):
            text = _read(folder / name).strip()
            if text.isdecimal() and int(text) < UNLIMITED:
                limits.append(int(text))
            if folder == self._top:
                break
        return min(limits, default=None)


def _own_group(root: Path) -> tuple[Path, Path, bool]:
    """Where groups begin, the one that we are in, and whether it is of version 2.

    In a container the path may be the host's, and its own group the root of what it sees.
    """
    top, found, is_v2 = root / "sys/fs/cgroup", "", True
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):  # version 1: it has the memory, where it is there
            top, found, is_v2 = top / "memory", path, False
            break
        if not controllers:
            found = path
    group = top / found.lstrip("/")
    return top, group if group.is_dir() else top, is_v2


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text()
    return ""


def _size(number: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if number >= unit:
            return f"{number / unit:.4g} {name}"
    return f"{number} bytes"
