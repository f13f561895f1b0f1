"""What the fault tests do to servers, and how they look at them from outside."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import select
import signal
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from tests.support import raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.support.client import InThread
    from tests.support.server import BalancerServer, Server, Status

APPS = "native:tests.faults.apps:"


def until(true: Callable[[], object], *, deadline: float = 10.0, what: str = "") -> None:
    """Ask again every 10 ms, for what nobody tells: AssertionError when it never becomes true."""
    end = monotonic() + deadline
    while not true():
        assert monotonic() < end, f"not within {deadline:g} s: {what or true}"
        sleep(0.01)


def pass_attempts(load: InThread, count: int) -> None:
    """Let the load go on for so many more attempts: it is the clock of a test under load."""
    load.wait_for_attempts(load.report.outcomes.total() + count, deadline=30.0)


def send(pid: int, number: signal.Signals) -> bool:
    """Signal a process; False when it has gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """SIGSTOP processes, and let those that live go on afterwards."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        _await_stop(pid)
    try:
        yield
    finally:
        for pid in pids:
            send(pid, signal.SIGCONT)


def _await_stop(pid: int) -> None:
    until(lambda: process_state(pid) in {"T", "Z"}, what=f"pid {pid} is stopped")


def process_state(pid: int) -> str:
    """R, S, T …: as in ps; Z also for a pid that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def accept_queue(port: int) -> int:
    """How many connections wait in the kernel for somebody to accept them, on all listeners."""
    waiting = 0
    with open("/proc/net/tcp") as table:
        next(table)
        for line in table:
            fields = line.split()
            if fields[3] != "0A":  # listeners come first, and then some ten thousand in TIME_WAIT
                break
            if int(fields[1].rpartition(":")[2], 16) == port:
                waiting += int(fields[4].rpartition(":")[2], 16)
    return waiting


def open_fds(pid: int) -> int:
    """How many file descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextlib.contextmanager
def limited_fds(pid: int, room: int) -> Iterator[None]:
    """Let a process open only ``room`` more descriptors, for a while."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # The limit is on the numbers, and new ones are the lowest that are unused.
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    unused = (number for number in range(before[0]) if number not in used)
    limit = next(itertools.islice(unused, room, None))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def taken_by(server: BalancerServer) -> int:
    """The id of the worker that has the only connection there is, once one has it."""
    status = server.wait_for(lambda status: any(each["active"] for each in status["workers"]))
    (taker,) = [each["id"] for each in status["workers"] if each["active"]]
    return int(taker)


def worker(status: Status, worker_id: int) -> dict[str, Any]:
    """One worker's part of the status."""
    found: dict[str, Any] = next(each for each in status["workers"] if each["id"] == worker_id)
    return found


def fork_server(server: BalancerServer) -> int:
    """The pid of the fork server, as soon as there is one."""
    status = server.wait_for(lambda status: (status["forkserver"] or {}).get("pid"))
    pid: int = status["forkserver"]["pid"]
    return pid


def kinds(fds: Iterable[str]) -> list[str]:
    """What descriptors are, without the numbers that differ each time."""
    return sorted(fd.partition(":[")[0] for fd in fds)


def assert_fds_return(server: Server, baseline: dict[int, str]) -> None:
    """The master holds the same kinds of descriptors as before.

    But for two ends of a pipe for each worker that came after one that died: it is overheard.
    """
    wanted, pipes = _count(baseline)
    # once: the master lets go of each question's connection a moment later than we do
    pipes += 2 * len(server.status()["workers"])

    def same() -> bool:
        found, more = _count(server.master_fds())
        return found == wanted and more <= pipes

    with contextlib.suppress(AssertionError):
        until(same, deadline=15.0)
    assert same(), (server.master_fds(), baseline)


def _count(fds: dict[int, str]) -> tuple[list[str], int]:
    """What there is but pipes, and how many of those."""
    found = kinds(fds.values())
    return [kind for kind in found if kind != "pipe"], found.count("pipe")


def ask(port: int, path: str = "/", *, deadline: float = 15.0) -> raw.RawConnection:
    """A connection with a request on its way."""
    connection = raw.RawConnection(port, deadline=deadline)
    connection.send(raw.request(path, close=True))
    return connection


@contextlib.contextmanager
def asking(port: int, count: int, path: str = "/") -> Iterator[list[raw.RawConnection]]:
    """That many of them, closed in the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(ask(port, path)) for _ in range(count)]


def readable(connections: Iterable[raw.RawConnection]) -> list[raw.RawConnection]:
    """Those that have been answered, or ended."""
    by_sock = {each.sock: each for each in connections}
    return [by_sock[sock] for sock in select.select(list(by_sock), (), (), 0)[0]]
