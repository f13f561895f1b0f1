"""Recycling under load: nobody notices, and never more than a quarter goes at once."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import APPS, pass_attempts, until
from tests.support import raw
from tests.support.client import InThread, Plan
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from pathlib import Path

CROWD = """
import os

_file = os.path.join(os.path.dirname(__file__), "crowd")

def _note(word):
    with open(_file, "a") as file:
        file.write(f"{word}\\n")

def pre_fork(server, worker): _note("+")
def child_exit(server, worker): _note("-")
"""


def _crowd(folder: Path) -> list[int]:
    """How many workers there were, after each birth and each death."""
    counts = [0]
    for word in (folder / "crowd").read_text().split():
        counts.append(counts[-1] + (1 if word == "+" else -1))
    return counts


@pytest.mark.parametrize(("workers", "more"), [(4, 1), (5, 2)])
def test_a_quarter_at_a_time_under_load(workers: int, more: int, tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text(CROWD)
    args = ("-c", str(tmp_path / "conf.py"), "--max-requests", "200")
    with BalancerServer(*args, workers=workers) as server:
        fresh = Plan(port=server.port, rate=600, duration=60)
        kept = Plan(port=server.port, keep_alive=True, concurrency=8, pause=0.02, duration=60)
        with InThread(fresh) as load, InThread(kept) as eager:
            server.wait_for(lambda status: min(ready(status), default=0) > workers, deadline=20)
            reports = [load.stop(), eager.stop()]
        for report in reports:
            assert report.failed == 0, (report.summary(), report.failures)
        log = server.log_lines()
        counts = _crowd(tmp_path)
    assert max(counts) <= workers + more
    assert max(counts) > workers
    told = [line for line in log if "is to be replaced: max-requests, after " in line]
    assert len(told) >= workers
    assert not [line for line in log if "ERROR" in line]


def test_nobody_lives_longer_than_they_may() -> None:
    with BalancerServer("--workers-lifetime", "1", workers=2) as server:
        with InThread(Plan(port=server.port, rate=200, duration=60)) as load:
            server.wait_for(lambda status: min(ready(status), default=0) > 2)
            report = load.stop()
        assert report.failed == 0, (report.summary(), report.failures)
        text = "\n".join(server.log_lines())
    found = re.findall(r"its time is over \(--workers-lifetime\), after ([\d.]+) s", text)
    assert len(found) >= 2
    assert all(float(age) >= 1.0 for age in found)


def test_one_that_grows_is_replaced_while_it_serves() -> None:
    args = ("--workers-max-rss", "120MiB")
    with BalancerServer(*args, workers=2, app=f"{APPS}growing()") as server:
        with InThread(Plan(port=server.port, rate=100, duration=60)) as load:
            for _ in range(6):
                assert raw.get(server.port, "/grow/40").status == 200
            server.wait_for(lambda status: any(each > 2 for each in ready(status)))
            pass_attempts(load, 20)
            report = load.stop()
        assert report.failed == 0, (report.summary(), report.failures)
        server.wait_for_line(r"it has \d+MiB of RSS \(--workers-max-rss\), after \d")


def test_a_roll_and_a_stop_meanwhile() -> None:
    args = ("--max-requests", "30")
    with BalancerServer(*args, workers=4) as server:
        with InThread(Plan(port=server.port, rate=500, duration=60)) as load:
            server.wait_for_line("is to be replaced: max-requests")
            server.signal(signal.SIGHUP)
            server.wait_for_line("reload: done")
            after = len(server.log_lines())
            server.wait_for_line("is to be replaced: max-requests", after=after)
            pass_attempts(load, 50)
            server.signal(signal.SIGTERM)
            until(lambda: server.process.returncode is not None)
            report = load.stop()
        assert set(report.outcomes) <= {"ok", "refused"}, (report.summary(), report.failures)
        assert not [line for line in server.log_lines() if "ERROR" in line]
