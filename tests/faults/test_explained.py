"""What is told of a worker's death: who or what it was, and what the worker said last."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Any

from tests.faults.apps import BROKEN
from tests.faults.lab import APPS, until
from tests.support import raw
from tests.support.server import BalancerServer, Status, ready

if TYPE_CHECKING:
    from pathlib import Path


def _failure(status: Status, slot: int) -> dict[str, Any]:
    """The last failure of a slot; nothing when there was none."""
    found = [each.get("last_failure") for each in status["workers"] if each["slot"] == slot]
    return found[0] or {}


def test_a_crash_loop_is_explained(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    env = {BROKEN: str(broken)}
    with BalancerServer(workers=2, app=f"{APPS}crashing()", env=env) as server:
        broken.touch()
        server.kill(2)
        status = server.wait_for(lambda status: "Fatal" in _failure(status, 2).get("stderr", ""))
        failure = _failure(status, 2)
        assert failure["cause"] == "was killed by SIGSEGV"
        said = failure["stderr"].splitlines()
        assert said[:2] == [
            "C has something against its caller",
            "Fatal Python error: Segmentation fault",
        ]
        assert any(re.search(r"faults/apps\.py.* in crashing", line) for line in said), said
        assert not _failure(status, 1)
        log = server.log_lines()
        assert said[0] in log  # it is in the log as well
        assert said[1] in log
        shown = server.command("status").stdout
        line = r"^slot 2, 0s ago: worker \d+ \(pid \d+\) was killed by SIGSEGV: Fatal Python error"
        assert re.search(line, shown, re.MULTILINE), shown
        broken.unlink()
        server.wait_ready(2)


def test_a_kill_is_somebody_elses_unless_the_master_knows_better() -> None:
    with BalancerServer(workers=1) as server:
        server.kill(1)
        status = server.wait_for(lambda status: _failure(status, 1))
        why = "was killed by SIGKILL (by somebody else, or the machine ran out of memory)"
        assert _failure(status, 1)["cause"] == why


def test_a_worker_that_leaves_as_told_is_no_failure() -> None:
    with BalancerServer(workers=1) as server:
        server.kill(1, signal.SIGTERM)
        server.wait_for_line("worker 1 .* has left")
        status = server.wait_for(lambda status: set(ready(status)) == {2})
        assert not _failure(status, 1)


def test_what_a_worker_says_survives_the_master(tmp_path: Path) -> None:
    """One that prints through the master, which is killed: it is back on the server's stderr."""
    env = {BROKEN: str(tmp_path / "broken")}
    with BalancerServer(workers=1, app=f"{APPS}crashing()", env=env, expect_exit=-9) as server:
        server.kill(1)
        (pid,) = server.wait_for(lambda status: set(ready(status)) == {2}) and [server.workers[2]]
        with raw.RawConnection(server.port) as client:
            assert _said(client, server, "before")
            pipe = os.readlink(f"/proc/{pid}/fd/2")
            client.send(b"GET /say/after HTTP/1.1\r\nHost: x\r\n")  # one that is in progress
            server.signal(signal.SIGKILL)
            until(lambda: os.readlink(f"/proc/{pid}/fd/2") != pipe)
            client.send(b"\r\n")
            assert client.receive_response().status == 200
            server.wait_for_line("^after$")


def _said(client: raw.RawConnection, server: BalancerServer, word: str) -> bool:
    client.send(raw.request(f"/say/{word}"))
    return client.receive_response().status == 200 and bool(server.wait_for_line(f"^{word}$"))
