"""A worker that stalls: it traps one connection at most, and that one is taken back in time."""

from __future__ import annotations

import re
import signal
from statistics import median
from time import monotonic

import pytest

from tests.faults.lab import ask, limited_fds, pass_attempts, stopped, taken_by, until, worker
from tests.support import raw
from tests.support.client import InThread, Plan, Record, run
from tests.support.server import BalancerServer, Server, ready

RECALL = 0.1
"""Seconds after which a connection is overdue (--recall)."""
BLOCKED = 1.6
"""Seconds for which a worker is blocked: who answers sooner is another one."""
RECALLED_WITHIN = 0.25
"""Seconds from connect() to an answer by somebody else."""


def _timed(server: Server, count: int) -> list[tuple[float, int]]:
    """Sequential connections: the seconds each took, and who answered."""
    answers = []
    for _ in range(count):
        start = monotonic()
        answer = raw.get(server.port)
        answers.append((monotonic() - start, answer.worker))
    return answers


@pytest.mark.parametrize("how", ["blocked", "stopped"])
def test_an_idle_servers_stalled_worker_traps_one(how: str) -> None:
    with BalancerServer(workers=3) as server:
        pids = server.workers
        if how == "blocked":
            with ask(server.port, f"/block/{BLOCKED}") as blocker:
                stalled = taken_by(server)
                answers = _timed(server, 12)
                assert blocker.receive_response().status == 200
        else:
            stalled = 1
            with stopped(pids[stalled]):
                answers = _timed(server, 12)
        assert {who for _, who in answers} == set(pids) - {stalled}
        assert max(seconds for seconds, _ in answers) < BLOCKED
        # One was on its way to it.  Another may have waited so long for one that is only late.
        late = sum(seconds >= RECALL for seconds, _ in answers)
        assert 1 <= server.status()["listeners"][0]["recalled"] <= late
        until(lambda: raw.get(server.port).worker == stalled, what="it is used again")
        assert server.workers == pids


def test_a_loaded_servers_stalled_worker_traps_one() -> None:
    with BalancerServer(workers=3) as server:
        capacity = run(Plan(port=server.port, concurrency=8, duration=0.5)).per_second
        plan = Plan(port=server.port, rate=0.7 * capacity, duration=60)
        with InThread(plan) as load:
            pass_attempts(load, 200)
            recalled = server.status()["listeners"][0]["recalled"]
            with stopped(server.workers[1]):
                trapped_for_good = worker(server.status(), 1)["active"]
                since = monotonic()
                server.wait_for(lambda status: worker(status, 1)["state"] == "stalled")
                pass_attempts(load, 200)
                recalled = server.status()["listeners"][0]["recalled"] - recalled
                until_then = monotonic() - RECALLED_WITHIN
            report = load.stop()
        assert report.failed == 0, report.summary()
        # It may have been stopped with one connection received and not yet acknowledged.
        stuck = [
            r
            for r in report.records
            if r.worker == 1 and r.start < until_then and r.start + r.total > until_then
        ]
        assert not _trapped([r for r in report.records if r.start > since and r.worker != 1])
        assert len(stuck) <= trapped_for_good + 1
        assert recalled <= 1


def _trapped(records: list[Record]) -> list[Record]:
    """Those that took a recall longer than the others of their moment.

    When the machine is busy with other things, all of them are slow; that is not what is asked.
    """
    records = sorted(records, key=lambda record: record.start)
    late = []
    for number, record in enumerate(records):
        around = [each.first_byte for each in records[max(0, number - 10) : number + 10]]
        if record.first_byte > RECALLED_WITHIN + median(around):
            late.append(record)
    return late


def test_hung_workers_are_dumped_killed_and_replaced() -> None:
    """One hangs in Python, whose stacks are shown; one is stopped, and shows nothing."""
    with BalancerServer("-t", "1", workers=3) as server:
        pids = server.workers
        before = len(server.log_lines())
        with ask(server.port, "/block/60") as hung:
            blocked = taken_by(server)
            silent = next(each for each in pids if each != blocked)
            server.kill(silent, signal.SIGSTOP)
            with InThread(Plan(port=server.port, rate=200, duration=60)) as load:
                for victim in (blocked, silent):
                    pattern = rf"worker {victim} .* no heartbeat for 1 s \(-t\) and is ended"
                    server.wait_for_line(pattern, after=before)
                server.wait_for(lambda status: len(ready(status)) == 3)
                pass_attempts(load, 100)
                report = load.stop()
            with pytest.raises((EOFError, ConnectionResetError)):
                hung.receive_response()
        assert report.failed == 0, report.summary()
        log = "\n".join(server.log_lines()[before:])
        assert re.search(r"demo\.py.* in _block", log), log
        why = r"from the master: no heartbeat for 1 s \(-t\)"
        assert re.search(rf"worker {blocked} .* was killed by SIGABRT, {why}", log), log
        assert re.search(rf"worker {silent} .* was killed by SIGKILL, {why}", log), log
        assert len(set(server.workers) & set(pids)) == 1


def test_a_cooling_worker_delays_no_recall() -> None:
    """The master's clock sleeps through a cool-down; meanwhile a connection becomes overdue."""
    with BalancerServer(workers=3) as server:
        pids = server.workers
        with limited_fds(pids[1], 0):
            # Refused, cooled down twice as long each time: a connection keeps it at it.
            server.wait_for_line("worker 1: no file descriptors left", after=_provoke(server))
            refused = server.status()["listeners"][0]["refused"]
            while server.status()["listeners"][0]["refused"] < refused + 3:
                raw.get(server.port)
            with stopped(pids[2]):
                answers = _timed(server, 6)
        assert {who for _, who in answers} == {3}
        took = [seconds for seconds, _ in answers]
        assert max(took) < RECALLED_WITHIN + median(took)


def _provoke(server: Server) -> int:
    lines = len(server.log_lines())
    for _ in range(3):
        raw.get(server.port)
    return lines
