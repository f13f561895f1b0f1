"""What processes cost, read from outside."""

from __future__ import annotations

import os
import time

import pytest

from benchmarks.measure import CpuSnapshot, cpu_seconds, processes, pss_bytes

NOBODY = 2**22 + 1  # above the kernel's largest pid


def test_cpu_time_is_that_of_the_process_clock() -> None:
    before = cpu_seconds(os.getpid())
    while time.process_time() - before < 0.02:
        pass
    assert cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=0.01)


def test_a_snapshot_skips_the_dead_and_subtracts() -> None:
    earlier = CpuSnapshot({1: 1.0, 2: 5.0})
    later = CpuSnapshot({1: 1.5, 2: 6.0, 3: 0.25})
    assert later.since(earlier) == 1.75
    assert later.since(earlier, {1}) == 0.5
    assert CpuSnapshot.take([NOBODY]).by_pid == {}


def test_memory_of_nobody_is_an_error() -> None:
    assert pss_bytes(os.getpid()) > 1_000_000
    with pytest.raises(ProcessLookupError):
        pss_bytes(NOBODY)


def test_processes_know_their_parent() -> None:
    me = processes()[os.getpid()]
    assert (me.parent, me.session) == (os.getppid(), os.getsid(0))
