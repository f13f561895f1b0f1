"""Forked children and descriptors: what the tests of this folder share."""

from __future__ import annotations

import os
import resource
import signal
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["count_fds", "exit_code", "no_descriptors_left", "run_child"]


def count_fds() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


def run_child(act: Callable[[], object]) -> int:
    """A forked child's pid, which exits with 0 when ``act`` returned."""
    with warnings.catch_warnings():
        # Python 3.12 warns where there are threads (trio keeps some); the child needs none of them
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    code = 1
    signal.alarm(60)  # whatever becomes of the test, this process goes
    try:
        act()
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def exit_code(pid: int) -> int:
    """Reap a child; its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def no_descriptors_left(spare: int = 0) -> Iterator[None]:
    """No descriptor is free but ``spare``, whatever holes the table of this process has."""
    highest = max(map(int, os.listdir("/proc/self/fd")))
    fillers = [os.open("/dev/null", os.O_RDONLY)]
    while fillers[-1] <= highest or len(fillers) < spare:
        fillers.append(os.dup(fillers[0]))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1, before[1]))
    try:
        for _ in range(spare):
            os.close(fillers.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for filler in fillers:
            os.close(filler)
