"""``--engine uvicorn``: real apps on asyncio, balancer's hand-off, supervision and restarts."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.e2e.asyncio_apps import BLOCKED
from tests.faults.lab import ask, pass_attempts, taken_by, until
from tests.support import raw
from tests.support.client import InThread, Plan
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

APPS = "tests.e2e.asyncio_apps"
SITE = f"{APPS}:site"


def serving(
    *args: str, app: str = SITE, workers: int = 2, env: Mapping[str, str] | None = None
) -> BalancerServer:
    return BalancerServer("--engine", "uvicorn", *args, app=app, workers=workers, env=env)


@pytest.mark.parametrize("app", [SITE, f"{APPS}:django()"])
def test_an_app_that_needs_asyncio_is_served_by_all_workers(app: str) -> None:
    with serving(app=app) as server:
        assert {raw.get(server.port).worker for _ in range(8)} == set(server.workers)
        assert raw.get(server.port, "/sleep/0.05").status == 200
        assert not [line for line in server.log_lines() if "[WARNING]" in line]
        if app == SITE:
            body = b"".join(b"%d\n" % number for number in range(100))
            assert raw.get(server.port, "/stream").body == body
        server.wait_for(lambda status: not any(each["active"] for each in status["workers"]))
        assert sum(each["requests"] for each in server.status()["workers"]) >= 9


def test_connections_are_shared_out_evenly() -> None:
    # without the recall, which takes its turn from one that is late on a busy machine
    with serving("--recall", "off", workers=3) as server, contextlib.ExitStack() as stack:
        by_worker = []
        for _ in range(30):  # one after the other: whoever is slow to answer gets less of a burst
            held = stack.enter_context(raw.RawConnection(server.port))
            by_worker.append(held.get().worker)
        assert [by_worker.count(each) for each in server.workers] == [10, 10, 10]


def test_a_worker_that_blocks_keeps_nobody_waiting(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    with (
        serving(workers=3, env={BLOCKED: str(blocked)}) as server,
        ask(server.port, "/block/1.5") as blocker,
    ):
        until(blocked.exists)
        stalled = taken_by(server)
        answers = {raw.get(server.port).worker for _ in range(12)}
        assert answers == set(server.workers) - {stalled}
        # the one that was on its way to it, and any that waited for one that was merely late
        assert server.status()["listeners"][0]["recalled"] >= 1
        assert blocker.receive_response().worker == stalled
        until(lambda: raw.get(server.port).worker == stalled, what="it is used again")


def test_a_worker_whose_loop_does_not_move_is_killed(tmp_path: Path) -> None:
    env = {BLOCKED: str(tmp_path / "blocked")}
    with (
        serving("--timeout", "1.5", workers=1, env=env) as server,
        ask(server.port, "/block/60"),
    ):
        server.wait_for(lambda status: 2 in ready(status))


def test_a_killed_worker_is_replaced_and_only_its_requests_are_lost() -> None:
    with serving() as server, ask(server.port, "/sleep/60") as lost:
        killed = taken_by(server)
        with ask(server.port, "/sleep/1") as kept:
            server.wait_for(lambda status: all(each["active"] for each in status["workers"]))
            server.kill(killed)
            with contextlib.suppress(ConnectionResetError):
                assert lost.receive() == b""
            assert kept.receive_response().worker != killed
        assert set(server.wait_ready(2)) == {1, 2, 3} - {killed}


@pytest.mark.parametrize("policy", ["round-robin", "shared", "reuseport"])
def test_rolling_restarts_under_load_lose_nothing(policy: str) -> None:
    with serving("--policy", policy) as server:
        kept = Plan(port=server.port, keep_alive=True, concurrency=8, pause=0.02, duration=60)
        short = Plan(port=server.port, concurrency=4, duration=60)
        with InThread(kept) as keeping, InThread(short) as load:
            for number in range(2):
                pass_attempts(load, 50)
                server.signal(signal.SIGHUP)
                server.wait_for_line("reload: done", after=number and len(server.log_lines()))
            pass_attempts(load, 50)
            reports = load.stop(), keeping.stop()
        for report in reports:
            assert report.failed == 0, report.summary()


def test_a_websocket_outlives_a_reload_and_ends_with_the_server() -> None:
    with serving() as server:
        with connect(f"ws://127.0.0.1:{server.port}/echo") as websocket:
            websocket.send("hi")
            before = websocket.recv(5)
            server.signal(signal.SIGHUP)
            server.wait_for_line("reload: done")
            websocket.send("hi")
            assert websocket.recv(5) == before
            server.signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                websocket.recv(5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert server.process.wait(5) == 0


def test_its_patience_with_a_websocket_ends_with_the_drain_timeout() -> None:
    with (
        serving("--drain-timeout", "0.3") as server,
        connect(f"ws://127.0.0.1:{server.port}/echo") as websocket,
    ):
        server.signal(signal.SIGHUP)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012


def test_max_requests_replaces_a_worker_and_loses_nothing() -> None:
    with serving("--max-requests", "50", workers=1) as server:
        plan = Plan(port=server.port, keep_alive=True, concurrency=4, duration=60)
        with InThread(plan) as load:
            server.wait_for(lambda status: 1 not in ready(status) and len(ready(status)) == 1)
            report = load.stop()
        assert report.failed == 0, report.summary()


def test_an_app_that_fails_to_start_ends_the_server_with_its_own_traceback() -> None:
    server = serving(app=f"{APPS}:failing")
    with server.process as process:
        assert process.wait(15) == 4
        said = "\n".join(process.log_lines())
        assert not process.survivors(deadline=1.0)
    assert f"app {APPS}:failing: start-up failed: ConnectionError: no database" in said
    assert "asyncio_apps.py" in said
    assert "balancer/apps" not in said


def test_the_trio_engine_says_which_engine_an_asyncio_app_needs() -> None:
    with BalancerServer(app=SITE, workers=1) as server:
        assert raw.get(server.port).status == 200
        assert raw.get(server.port, "/sleep/0.01").status == 500
        line = server.wait_for_line("--engine uvicorn")
        assert re.search(r"GET /sleep/0.01 \(request \S+\): the app needs asyncio", line.text)
        assert not [line for line in server.log_lines() if "Traceback" in line]


HOOKS = """
def post_worker_init(worker): worker.log.warning("hooked: post_worker_init")
def worker_int(worker): worker.log.warning("hooked: worker_int")
def pre_request(worker, req):
    worker.log.warning("hooked: %s %s %s", req.method, req.uri, req.remote_addr[0])
def post_request(worker, req, environ, resp):
    worker.log.warning("hooked: %s %s", req.path, resp.status_code)
"""


def test_it_calls_the_hooks_of_its_workers(tmp_path: Path) -> None:
    config = tmp_path / "conf.py"
    config.write_text(HOOKS)
    server = serving("-c", str(config), "--graceful-timeout", "0.1", workers=1)
    with server:
        forwarded = b"GET /?x=1 HTTP/1.0\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
        assert b"200 OK" in raw.exchange(server.port, forwarded)
        raw.get(server.port, "/nothing")
        with connect(f"ws://127.0.0.1:{server.port}/echo"):
            pass
        server.wait_for_line("hooked: /echo 101", after=0)
        server.signal(signal.SIGINT)
        server.process.wait(10)
        said = [line.partition("hooked: ")[2] for line in server.log_lines() if "hooked" in line]
    assert said == [
        "post_worker_init",
        "GET /?x=1 127.0.0.1",
        "/ 200",
        "GET /nothing 127.0.0.1",
        "/nothing 404",
        "GET /echo 127.0.0.1",
        "/echo 101",
        "worker_int",
    ]


def test_an_id_leads_from_the_answer_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    args = ("--access-logfile", str(log), "--access-logformat", "%(U)s %(s)s %(id)s")
    with serving(*args, workers=1, app=f"{APPS}:raising") as server:
        answer = raw.get(server.port, "/fails")
        assert answer.status == 500
        request_id = answer.headers["x-request-id"]
        assert f"(request {request_id})\n".encode() in answer.body
        server.wait_for_line(re.escape(f"the handler failed on GET /fails (request {request_id})"))
        server.wait_for_line("ZeroDivisionError")
    assert log.read_text() == f"/fails 500 {request_id}\n"


def test_a_worker_on_trio_has_none_of_it_in_memory() -> None:
    code = "import sys, balancer.worker.entry; print(*{'asyncio', 'uvicorn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
