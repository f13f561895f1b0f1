"""The access log of a real server: a line per request, whoever comes and goes meanwhile."""

from __future__ import annotations

import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import APPS, until
from tests.support import raw
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "%(worker)s %(m)s %(U)s %(s)s %(B)s %(id)s %(X)s"
LINE = re.compile(r"(\d+) GET /(\S*) (\d+) (\d+) (\S+) ([-+X])").fullmatch


def keep_alive(port: int, name: str, count: int) -> int:
    """So many answers on one connection, or on as many as it takes."""
    answered = 0
    while answered < count:
        with raw.RawConnection(port) as connection:
            while answered < count:
                response = connection.get(f"/{name}-{answered}")
                assert response.status == 404
                answered += 1
                if response.headers.get("connection") == "close":
                    break
    return answered


def one_each(port: int, name: str, count: int) -> int:
    for number in range(count):
        assert raw.get(port, f"/{name}-{number}").status == 404
    return count


def names(*files: Path) -> list[str]:
    """What the lines of some files are about; each must be whole."""
    found = []
    for line in "".join(file.read_text() for file in files).splitlines():
        match = LINE(line)
        assert match is not None, line
        assert match[3] == "404"
        found.append(match[2])
    return found


def expected(**counts: int) -> list[str]:
    return sorted(f"{name}-{number}" for name, count in counts.items() for number in range(count))


def logging_to(path: Path, engine: str = "trio") -> BalancerServer:
    args = ["--access-logfile", str(path), "--access-logformat", FORMAT, "--engine", engine]
    app = None if engine == "trio" else "tests.e2e.asyncio_apps:nothing"
    return BalancerServer(*args, app=app, workers=2)


engines = pytest.mark.parametrize("engine", ["trio", "uvicorn"])


@engines
def test_a_line_per_request_across_a_reload_and_the_end(tmp_path: Path, engine: str) -> None:
    log = tmp_path / "log"
    with logging_to(log, engine) as server, ThreadPoolExecutor() as pool:
        work = [
            pool.submit(keep_alive, server.port, "kept", 1000),
            pool.submit(keep_alive, server.port, "also", 600),
            pool.submit(one_each, server.port, "new", 400),
        ]
        until(lambda: log.stat().st_size)
        server.signal(signal.SIGHUP)
        server.wait_for_line("reload: done", deadline=30)
        assert [each.result(30) for each in work] == [1000, 600, 400]
    lines = names(log)
    assert sorted(lines) == expected(kept=1000, also=600, new=400)
    ids = [line.split()[5] for line in log.read_text().splitlines()]
    assert len(set(ids)) == 2000


@pytest.mark.parametrize(
    ("engine", "how"), [("trio", "signal"), ("trio", "command"), ("uvicorn", "signal")]
)
def test_rotation_under_load_loses_no_line(tmp_path: Path, engine: str, how: str) -> None:
    log, old = tmp_path / "log", tmp_path / "log.1"
    with logging_to(log, engine) as server, ThreadPoolExecutor() as pool:
        work = [pool.submit(keep_alive, server.port, name, 500) for name in ("a", "b", "c")]
        until(lambda: log.stat().st_size)
        log.rename(old)
        if how == "signal":
            server.signal(signal.SIGUSR1)
        else:
            assert server.command("reopen").stdout == "reopening\n"
        assert [each.result(30) for each in work] == [500] * 3
        until(log.exists)
        keep_alive(server.port, "after", 10)
    assert sorted(names(log, old)) == expected(a=500, b=500, c=500, after=10)
    assert {name for name in names(log) if name.startswith("after")}


def test_standard_output() -> None:
    server = BalancerServer("--access-log", workers=2)
    with server:
        assert raw.get(server.port, "/x").status == 404
        line = server.wait_for_line(r"GET /x").text
        form = r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:[\d:]{8} [+-]\d{4}\] "
        assert re.fullmatch(form + r'"GET /x HTTP/1\.1" 404 28 "-" "-"', line)


def test_an_id_leads_from_the_answer_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    args = ("--access-logfile", str(log), "--access-logformat", FORMAT)
    with BalancerServer(*args, app=APPS + "raising()", workers=1) as server:
        answer = raw.get(server.port, "/fails")
        assert answer.status == 500
        request_id = answer.headers["x-request-id"]
        assert f"(request {request_id})\n".encode() in answer.body
        server.wait_for_line(re.escape(f"the handler failed on GET /fails (request {request_id})"))
        server.wait_for_line("ZeroDivisionError")
    assert log.read_text() == f"1 GET /fails 500 {len(answer.body)} {request_id} -\n"


def test_a_killed_worker_takes_no_more_than_its_last_lines_along(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with logging_to(log) as server:
        one_each(server.port, "before", 20)
        until(lambda: len(names(log)) == 20)
        server.kill(1)
        server.wait_for(lambda status: set(ready(status)) == {2, 3})
        one_each(server.port, "after", 20)
    assert sorted(names(log)) == expected(before=20, after=20)


def test_a_log_that_can_not_be_written_is_said_before_the_port_is_bound(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing" / "log")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        server = BalancerServer("--access-logfile", missing, binds=(bind,), expect_exit=1)
        server.process.start()
        try:
            assert server.process.wait(10) == 1
            assert server.log_lines() == [
                f"balancer: error: --access-logfile {missing}: No such file or directory"
            ]
        finally:
            server.process.close()
