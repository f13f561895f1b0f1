"""Flask and Django through real workers, and what happens when their threads are busy."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, final

import httpx
import pytest

from tests.faults.lab import pass_attempts, readable, until
from tests.support import raw
from tests.support.client import InThread, Plan
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.server import Status

FLASK = "tests.e2e.apps.flask_site:app"
BARE = "tests.e2e.apps.bare:app"
DJANGO = "wsgi:tests.e2e.apps.django_site:application"


@pytest.fixture(scope="module", params=[FLASK, DJANGO], ids=["flask", "django"])
def site(request: pytest.FixtureRequest) -> Iterator[BalancerServer]:
    with BalancerServer("--threads", "2", "--root-path", "/root", app=request.param) as server:
        yield server


@pytest.fixture
def client(site: BalancerServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{site.port}", timeout=10) as client:
        yield client


class TestSites:
    """Unchanged apps; with 2 workers of 2 threads each."""

    def test_both_workers_serve(self, site: BalancerServer) -> None:
        seen: set[int] = set()

        def both() -> bool:  # at once, but for a worker that stalls on a busy machine
            seen.add(raw.get(site.port).worker)
            return seen == {1, 2}

        until(both)

    def test_a_connection_is_kept(self, client: httpx.Client) -> None:
        assert len({client.get("/").text for _ in range(10)}) == 1

    @pytest.mark.parametrize("size", [0, 5, 1_000_000])
    def test_a_body_comes_and_goes(self, client: httpx.Client, size: int) -> None:
        data = os.urandom(size)
        answer = client.post("/echo", content=data)
        assert answer.content == data
        assert answer.headers["content-length"] == str(size)

    def test_a_chunked_body(self, client: httpx.Client, site: BalancerServer) -> None:
        pieces = [os.urandom(size) for size in (1, 100_000, 17)]
        answer = client.post("/echo", content=iter(pieces))
        assert answer.status_code == 200
        # Django reads no body whose length isn't announced
        assert answer.content == (b"".join(pieces) if FLASK in site.process.argv else b"")

    def test_an_upload(self, client: httpx.Client) -> None:
        file = ("name.bin", bytes(300_000))
        answer = client.post("/upload", files={"file": file}, data={"note": "\u00e9"})
        assert answer.json() == {"name": "name.bin", "size": 300_000, "note": "\u00e9"}

    def test_a_stream(self, client: httpx.Client) -> None:
        answer = client.get("/stream/5000")
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.text == "".join(f"line {number}\n" for number in range(5000))

    def test_a_file(self, client: httpx.Client) -> None:
        answer = client.get("/file/3000000")
        assert answer.content == bytes(3_000_000)

    def test_head(self, client: httpx.Client) -> None:
        head, get = client.head("/file/1000"), client.get("/file/1000")
        assert head.content == b""
        assert head.headers["content-type"] == get.headers["content-type"]

    def test_the_site_knows_where_it_is(self, client: httpx.Client, site: BalancerServer) -> None:
        headers = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https"}
        answer = client.get("/where", params={"q": "\u00e9"}, headers=headers)
        url = f"https://127.0.0.1:{site.port}/root/where?q=%C3%A9"
        assert answer.json()["peer"] == "198.51.100.7"
        assert answer.json()["root"] == "/root"
        assert httpx.URL(answer.json()["url"]) == httpx.URL(url)

    def test_errors_are_the_frameworks(self, client: httpx.Client) -> None:
        assert client.get("/nowhere").status_code == 404
        assert client.get("/error").status_code == 500
        assert client.get("/").status_code == 200


@final
class Held:
    """A request that a site works on until it is let go."""

    def __init__(self, server: BalancerServer, pipe: Path) -> None:
        os.mkfifo(pipe)
        self.connection = raw.RawConnection(server.port)
        self.connection.send(raw.request(f"/hold/{pipe}"))
        self._pipe = os.open(pipe, os.O_WRONLY)  # returns when the site has opened it, too

    def let_go(self) -> int:
        """The worker that it was in."""
        self._close()
        return self.connection.receive_response().worker

    def _close(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def close(self) -> None:
        self._close()
        self.connection.close()


@contextmanager
def holding(server: BalancerServer, folder: Path, count: int = 1) -> Iterator[list[Held]]:
    with ExitStack() as stack:
        held = []
        for number in range(count):
            held.append(Held(server, folder / f"pipe-{number}"))
            stack.callback(held[-1].close)
        yield held


@pytest.mark.parametrize("policy", ["round-robin", "least-connections", "shared"])
def test_a_worker_without_a_free_thread_gets_no_connection_while_another_has_one(
    tmp_path: Path, policy: str
) -> None:
    with (
        BalancerServer("--policy", policy, app=BARE) as server,
        holding(server, tmp_path) as [held],
    ):
        workers = {raw.get(server.port).worker for _ in range(20)}
        assert len(workers) == 1
        assert held.let_go() not in workers


def test_when_all_are_busy_connections_wait_and_none_is_lost(tmp_path: Path) -> None:
    with (
        BalancerServer(app=BARE) as server,
        ExitStack() as stack,
        holding(server, tmp_path, 2) as [first, second],
    ):
        waiting = [stack.enter_context(raw.RawConnection(server.port)) for _ in range(7)]
        for connection in waiting:
            connection.send(raw.request(close=True))
        # once each: then the master knows that both are full, and leaves the rest to the kernel
        server.wait_for(lambda status: status["listeners"][0]["refused"] == 2)
        assert not readable(waiting)
        worker = first.let_go()
        assert [each.receive_response().worker for each in waiting] == [worker] * 7
        assert second.let_go() != worker


def test_requests_of_kept_connections_wait_for_the_thread(tmp_path: Path) -> None:
    with BalancerServer(workers=1, app=BARE) as server, ExitStack() as stack:
        kept = [stack.enter_context(raw.RawConnection(server.port)) for _ in range(3)]
        for connection in kept:
            assert connection.get().status == 200
        with holding(server, tmp_path) as [held]:
            for connection in kept:
                connection.send(raw.request())
            assert not readable(kept)
            held.let_go()
            assert {each.receive_response().status for each in kept} == {200}


def test_more_threads_do_more_at_once(tmp_path: Path) -> None:
    with (
        BalancerServer("--threads", "3", workers=1, app=BARE) as server,
        holding(server, tmp_path, 3) as held,
    ):
        assert [each.let_go() for each in reversed(held)] == [1, 1, 1]


@pytest.mark.parametrize("app", [FLASK, DJANGO], ids=["flask", "django"])
def test_a_restart_fails_no_request(app: str) -> None:
    with BalancerServer("--threads", "2", app=app) as server:
        with InThread(Plan(port=server.port, rate=100, duration=60)) as load:
            pass_attempts(load, 50)
            assert server.command("reload").returncode == 0
            server.wait_for(lambda status: set(ready(status)) == {3, 4})
            pass_attempts(load, 50)
            report = load.stop()
        assert report.failed == 0, report.summary()


def test_a_request_that_takes_too_long_costs_its_worker_and_nobody_else() -> None:
    with BalancerServer("--request-timeout", "0.5", app=BARE) as server, ExitStack() as stack:
        kept = [stack.enter_context(raw.RawConnection(server.port)) for _ in range(2)]
        before = {each.get().worker: each for each in kept}
        load = stack.enter_context(InThread(Plan(port=server.port, rate=50, duration=60)))
        hung = stack.enter_context(raw.RawConnection(server.port))
        hung.send(raw.request("/hang"))
        assert hung.receive_response().status == 504
        assert {connection.get().worker for connection in before.values()} == {1, 2}
        status = server.wait_for(lambda status: 3 in ready(status) and gone(status, {1, 2}) == 1)
        assert len(ready(status)) == 2
        report = load.stop()
        assert report.failed == 0, report.summary()
        log = "\n".join(server.log_lines())
        assert re.search(r"GET /hang was cancelled after 0.5 s \(--request-timeout\)", log)
        assert log.count("can't be stopped") == 1
        assert re.search(r"bare.py\", line \d+, in hang", log)
        assert "is to be replaced: request-timeout" in log
        assert "is killed" not in log


def gone(status: Status, ids: set[int]) -> int:
    """How many of these workers are no more."""
    return len(ids - {worker["id"] for worker in status["workers"]})


def test_a_thread_that_hangs_does_not_delay_the_stop() -> None:
    with (
        BalancerServer("--graceful-timeout", "0.3", workers=1, app=BARE) as server,
        raw.RawConnection(server.port) as hung,
    ):
        hung.send(raw.request("/hang"))
        server.wait_for(lambda status: status["workers"][0]["active"] == 1)
        server.finish()
        assert hung.closed_by_server()
        assert "is killed" not in "\n".join(server.log_lines())


def test_the_demo_is_cancelled_too() -> None:
    with BalancerServer("--request-timeout", "0.3", workers=1) as server:
        assert raw.get(server.port, "/sleep/60").status == 504
        assert raw.get(server.port, "/sleep/0").status == 200
