"""The kernel's own count of whom it has killed, in folders as it lays them out."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from balancer.master.oom import OutOfMemory, _own_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BY_KERNEL = "was killed by the kernel for want of memory"


class Machine:
    """A ``/`` with one control group that we are in."""

    def __init__(self, root: Path, membership: str, count: str) -> None:
        self.root = root
        self.counts = root / count
        for path, text in (("proc/self/cgroup", membership), ("proc/vmstat", "oom_kill 3\n")):
            self.write(path, text)
        self.count(5)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def count(self, killed: int) -> None:
        self.counts.parent.mkdir(parents=True, exist_ok=True)
        self.counts.write_text(f"low 0\noom 9\noom_kill {killed}\noom_group_kill 0\n")

    def watch(self) -> OutOfMemory:
        return OutOfMemory(str(self.root))


def version_2(root: Path) -> Machine:
    return Machine(root, "0::/pod/app\n", "sys/fs/cgroup/pod/app/memory.events")


def version_1(root: Path) -> Machine:
    return Machine(
        root,
        "5:cpu,cpuacct:/x\n4:memory:/pod/app\n0::/\n",
        "sys/fs/cgroup/memory/pod/app/memory.oom_control",
    )


@pytest.mark.parametrize("make", [version_1, version_2])
def test_each_kill_explains_one_death(make: Callable[[Path], Machine], tmp_path: Path) -> None:
    machine = make(tmp_path)
    watch = machine.watch()
    assert watch.explain() is None
    machine.count(7)
    assert watch.explain() == f"{BY_KERNEL} (the machine has no more)"
    assert watch.explain() is not None
    assert watch.explain() is None


def test_the_tightest_limit_is_named(tmp_path: Path) -> None:
    machine = version_2(tmp_path)
    machine.write("sys/fs/cgroup/pod/memory.max", "536870912\n")
    machine.write("sys/fs/cgroup/pod/app/memory.max", "max\n")
    watch = machine.watch()
    machine.count(6)
    assert watch.explain() == f"{BY_KERNEL} (cgroup limit 512 MiB)"


def test_version_1_says_no_limit_with_a_number(tmp_path: Path) -> None:
    machine = version_1(tmp_path)
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{2**63 - 4096}\n")
    machine.write("sys/fs/cgroup/memory/pod/app/memory.limit_in_bytes", f"{3 << 29}\n")
    watch = machine.watch()
    machine.count(6)
    assert watch.explain() == f"{BY_KERNEL} (cgroup limit 1.5 GiB)"


def test_what_was_killed_before_a_worker_started_is_not_its_death(tmp_path: Path) -> None:
    machine = version_2(tmp_path)
    watch = machine.watch()
    machine.count(6)
    watch.look()
    assert watch.explain() is None


def test_in_a_container_the_path_is_the_hosts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/kubepods/x\n", "sys/fs/cgroup/memory.events")
    watch = machine.watch()
    machine.count(6)
    assert watch.explain() is not None


def test_without_groups_the_machines_count_is_asked(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/\n", "proc/vmstat")
    watch = machine.watch()
    machine.count(6)
    assert watch.explain() is not None


def test_nothing_can_be_read(tmp_path: Path) -> None:
    assert OutOfMemory(str(tmp_path)).explain() is None


EATER = """
import os, signal, sys
from balancer.master.oom import OutOfMemory
with open(sys.argv[1], "w") as procs:
    procs.write(str(os.getpid()))
watch = OutOfMemory()
child = os.fork()
if not child:
    eaten = []
    while True:
        eaten.append(bytearray(b"x") * (1 << 20))
_, status = os.waitpid(child, 0)
assert os.WTERMSIG(status) == signal.SIGKILL, status
print(watch.explain())
"""


@contextmanager
def limited_group(size: int) -> Iterator[Path]:
    """A control group of this machine's; what joins it by this file has so much memory."""
    group = _own_group(Path("/"))
    folder = group[1] / f"balancer-test-{os.getpid()}"
    limit = "memory.max" if group[2] else "memory.limit_in_bytes"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error.strerror}")
    try:
        if not (folder / limit).exists():
            pytest.skip("the memory controller isn't enabled for groups below ours")
        (folder / limit).write_text(str(size))
        yield folder / "cgroup.procs"
    finally:
        folder.rmdir()


def test_the_kernel_itself() -> None:
    with limited_group(64 << 20) as procs:
        done = subprocess.run(
            [sys.executable, "-c", EATER, str(procs)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.stdout == f"{BY_KERNEL} (cgroup limit 64 MiB)\n", done.stderr
