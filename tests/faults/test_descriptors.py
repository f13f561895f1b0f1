"""EMFILE in the master and in a worker: clients wait, and nobody is dropped without a word."""

from __future__ import annotations

import contextlib
import re
import signal
import time

from tests.faults.lab import ask, asking, limited_fds, open_fds, send, stopped, until
from tests.support import raw
from tests.support.server import BalancerServer, ready

LIMIT = 160


def _with_limit(server: BalancerServer, fds: int) -> BalancerServer:
    server.process.argv[:0] = ["prlimit", f"--nofile={fds}:{fds}"]
    return server


def test_a_master_with_few_descriptors_keeps_everybody_waiting() -> None:
    """Far more clients than descriptors; a respawn in the middle of it gets those it needs."""
    with _with_limit(BalancerServer(workers=2), LIMIT) as server:
        pids = server.workers
        with stopped(*pids.values()), asking(server.port, 300) as clients:
            server.wait_for(lambda status: status["listeners"][0]["queued"] >= 16)
            until(lambda: server.status()["listeners"][0]["queued"] + 64 + 16 + 2 >= LIMIT)
            assert open_fds(server.pid) < LIMIT
            send(pids[1], signal.SIGKILL)
            server.wait_for(lambda status: 3 in ready(status))
            answers = [client.receive_response() for client in clients]
        assert {answer.status for answer in answers} == {200}
        assert server.status()["listeners"][0]["accepted"] == 300
        server.wait_ready(2)


def test_a_window_counts_against_the_descriptors_too() -> None:
    with _with_limit(BalancerServer("--window", "32", workers=2), LIMIT) as server:
        pids = server.workers
        with stopped(*pids.values()), asking(server.port, 300) as clients:
            until(lambda: open_fds(server.pid) >= LIMIT / 2)
            send(pids[1], signal.SIGKILL)
            server.wait_for(lambda status: 3 in ready(status))
            answers = [client.receive_response() for client in clients]
        assert {answer.status for answer in answers} == {200}


def test_emfile_in_the_master_pauses_accepting() -> None:
    """The limit is lowered while it runs, so that accept() itself says EMFILE."""
    with BalancerServer(workers=2) as server:
        pids = server.workers
        before = len(server.log_lines())
        with contextlib.ExitStack() as stack:
            with stopped(*pids.values()):
                with limited_fds(server.pid, 20):
                    clients = stack.enter_context(asking(server.port, 60))
                    line = server.wait_for_line("can't accept: Too many open files", after=before)
                # Everybody whom it could not accept waited in the kernel.
                server.wait_for(lambda status: status["listeners"][0]["accepted"] == 60)
            answers = [client.receive_response() for client in clients]
        assert {answer.status for answer in answers} == {200}
        said = [text for text in server.log_lines() if "can't accept" in text]
        assert said == [line.text]
        assert server.workers == pids


def test_a_worker_that_cannot_be_started_for_want_of_descriptors_is_started_later() -> None:
    """Whichever of those that it needs is missing."""
    with BalancerServer(workers=2) as server:
        quiet = _quiet_fds(server)
        for room in range(5):
            until(lambda: open_fds(server.pid) == quiet)
            before = len(server.log_lines())
            with limited_fds(server.pid, room):
                server.signal(signal.SIGTTIN)
                server.wait_for_line("scaling from 2 to 3 workers", after=before)
                server.wait_for_line("Too many open files|no file descriptors left", after=before)
                client = ask(server.port)
            with client:
                assert client.receive_response().status == 200
            server.wait_ready(3)
            server.signal(signal.SIGTTOU)
            server.wait_for(lambda status: len(status["workers"]) == 2)


def _quiet_fds(server: BalancerServer) -> int:
    """How many descriptors the master has when nobody asks it anything."""
    counts = [0, 1]
    while len(set(counts[-5:])) > 1:
        counts.append(open_fds(server.pid))
        time.sleep(0.02)
    return counts[-1]


def test_a_fork_server_that_dies_without_descriptors_to_spare_is_replaced_later() -> None:
    with BalancerServer(workers=2) as server:
        pid = server.status()["forkserver"]["pid"]
        before = len(server.log_lines())
        with limited_fds(server.pid, 0):
            send(pid, signal.SIGKILL)
            server.wait_for_line("the fork server .* died", after=before)
            server.wait_for_line("no fork server can be started", after=before)
        server.kill(1)
        server.wait_ready(2)


def test_emfile_in_a_worker_sends_its_connections_to_others() -> None:
    with BalancerServer(workers=2) as server:
        pids = server.workers
        before = len(server.log_lines())
        with limited_fds(pids[1], 3), contextlib.ExitStack() as stack:
            # One after the other, so that both have their turns.
            answers = [stack.enter_context(raw.RawConnection(server.port)).get() for _ in range(20)]
        assert {answer.status for answer in answers} == {200}
        on_first = [answer for answer in answers if answer.worker == 1]
        assert 1 <= len(on_first) <= 3
        server.wait_for_line("worker 1: no file descriptors left", after=before)
        # Used again as soon as its cool-down is over (5 s at most), and not thrown away.
        until(lambda: raw.get(server.port).worker == 1, deadline=6)
        assert server.workers == pids


def test_asking_for_more_descriptors_than_there_may_be_is_refused() -> None:
    server = _with_limit(BalancerServer("--queue", "5000", workers=2), LIMIT)
    server.process.start()
    assert server.process.wait(10) == 2
    (line,) = server.log_lines()
    assert re.search(r"--queue 5000: needs \d+ file descriptors and the limit is 160", line)
    server.process.close()
