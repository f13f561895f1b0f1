"""Usable CPUs, with a file system made for the purpose."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from balancer.settings.cpus import usable_cpus

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 5}, raising=False)


def fill(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = {"proc/self/cgroup": "0::/a/b\n"}
V1 = {"proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x\n"}


@pytest.mark.usefixtures("four_cpus")
@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 4),
        (V2, 4),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 4),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 2),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "50000 100000\n"}, 1),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "900000 100000\n"}, 4),
        # an ancestor's quota binds too
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
               "sys/fs/cgroup/a/cpu.max": "300000 100000\n"}, 3),
        # no cgroup namespace: only the container's own folder is mounted
        (V2 | {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        (V2 | {"sys/fs/cgroup/unified/a/cpu.max": "200000 100000\n"}, 2),
        (V2 | {"sys/fs/cgroup/cpu.max": "garbage\n"}, 4),
        (V2 | {"sys/fs/cgroup/cpu.max": "1 0\n"}, 4),
        (V1 | {"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "-1\n",
               "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"}, 4),
        (V1 | {"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "250000\n",
               "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"}, 3),
        (V1 | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
               "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"proc/self/cgroup": "0::/../..\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
    ],
)  # fmt: skip
def test_quotas(tmp_path: Path, files: dict[str, str], cpus: int) -> None:
    assert usable_cpus(fill(tmp_path, files)) == cpus


def test_affinity_alone(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == len(os.sched_getaffinity(0))


def test_this_machine() -> None:
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))
