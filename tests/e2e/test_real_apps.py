"""Real frameworks, unchanged, through two workers: what they do in the small, and under fire."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.sync.client import connect

from tests.faults.lab import pass_attempts, send, stopped, until
from tests.support import raw
from tests.support.client import InThread, Outcome, Plan
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from collections.abc import Iterator

SITES = "tests.e2e.apps."
ASYNC_SITES = ["fastapi_site:app", "starlette_site:app", "quart_site:app", "litestar_site:app"]
LOST = {Outcome.RESET, Outcome.EOF, Outcome.TRUNCATED}


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A client of a server of the site that the test names."""
    with BalancerServer(app=SITES + request.param) as server, _client(server) as client:
        yield client


def _client(server: BalancerServer) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False)


@pytest.mark.parametrize("client", ["fastapi_site:app"], indirect=True)
def test_fastapi(client: httpx.Client) -> None:
    first = client.get("/").json()
    assert first["greeting"] == "hello"
    assert client.get("/threaded", params={"skip": 5}).json()["skip"] == 5
    item = {"name": "screw", "price": 0.1}
    assert client.post("/items", json=item).json() == item
    assert client.post("/items", json={"name": 1}).status_code == 422
    upload = client.post("/upload", files={"file": ("a.bin", b"x" * 300_000)})
    assert upload.json() == {"name": "a.bin", "size": 300_000}
    assert client.get("/openapi.json").json()["openapi"]
    assert client.get("/nothing").status_code == 404
    pids = set()
    for _ in range(4):
        with httpx.Client(base_url=client.base_url, trust_env=False) as another:
            pids.add(another.get("/").json()["pid"])
    assert len(pids) == 2


@pytest.mark.parametrize("client", ["starlette_site:app"], indirect=True)
def test_starlette(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.text.startswith("Hello from worker ")
    assert answer.headers["x-pid"].isdecimal()
    assert client.get("/count/1000").text == "".join(f"{number}\n" for number in range(1000))
    with open(__file__.replace("test_real_apps", "apps/starlette_site"), "rb") as file:
        assert client.get("/file").content == file.read()
    assert client.head("/file").content == b""
    assert client.post("/echo", content=b"x" * 1_000_000).text == "1000000"
    assert client.post("/echo", content=iter([b"ab", b"c"])).text == "3"
    assert client.get("/fail").status_code == 500
    client.get("/background")
    until(lambda: "background" in client.get("/done").json())


@pytest.mark.parametrize("client", ["starlette_site:app"], indirect=True)
def test_a_stream_ends_when_its_client_leaves(client: httpx.Client) -> None:
    with client.stream("GET", "/forever") as answer:
        assert next(answer.iter_lines()) == "first"
        pid = answer.headers["x-pid"]

    def cancelled() -> bool:
        # of two workers, it is this one that has to say so
        with httpx.Client(base_url=client.base_url, trust_env=False) as another:
            answer = another.get("/done")
        return answer.headers["x-pid"] == pid and "forever was cancelled" in answer.json()

    until(cancelled)


@pytest.mark.parametrize("client", ["quart_site:app"], indirect=True)
def test_quart_trio(client: httpx.Client) -> None:
    assert client.get("/").text.startswith("Hello from worker ")
    assert client.post("/echo", content=b"x" * 200_000).content == b"x" * 200_000
    assert client.get("/nursery").json() == {"total": 45}


@pytest.mark.parametrize("client", ["litestar_site:app"], indirect=True)
def test_litestar(client: httpx.Client) -> None:
    assert client.get("/").text.startswith("Hello from worker ")
    assert client.get("/threaded", params={"skip": 5}).json() == {"skip": 5}
    item = {"name": "screw", "price": 0.1}
    assert client.post("/items", json=item).json() == item
    assert client.post("/items", json={"name": 1}).status_code == 400
    assert client.post("/echo", content=iter([b"ab", b"c"])).content == b"abc"
    assert client.get("/count/1000").text == "".join(f"{number}\n" for number in range(1000))
    assert client.get("/schema/openapi.json").json()["openapi"]
    assert client.get("/nothing").status_code == 404
    with connect(str(client.base_url.copy_with(scheme="ws", path="/ws"))) as socket:
        socket.send("hello")
        assert socket.recv() == "hello"


@pytest.mark.parametrize("site", ASYNC_SITES)
def test_a_rolling_restart_fails_no_request(site: str) -> None:
    with BalancerServer(app=SITES + site) as server:
        kept = Plan(port=server.port, concurrency=4, duration=60, keep_alive=True)
        with InThread(kept) as old, InThread(Plan(port=server.port, rate=100, duration=60)) as new:
            for load in (old, new):
                pass_attempts(load, 50)
            before = set(server.workers)
            server.signal(signal.SIGHUP)
            server.wait_for(lambda status: not before & set(ready(status)), deadline=20)
            for load in (old, new):
                pass_attempts(load, 50)
            reports = [load.stop() for load in (old, new)]
        for report in reports:
            assert report.failed == 0, report.summary()


@pytest.mark.parametrize("site", [*ASYNC_SITES, "flask_site:app", "bare:app"])
def test_a_killed_worker_loses_only_what_it_was_answering(site: str) -> None:
    with BalancerServer(app=SITES + site) as server:
        with InThread(Plan(port=server.port, rate=150, duration=60)) as load:
            pass_attempts(load, 50)
            (victim, pid), *_ = server.workers.items()
            with stopped(pid):  # so that what it has is known and not estimated
                active = {each["id"]: each["active"] for each in server.status()["workers"]}
                send(pid, signal.SIGKILL)
            server.wait_for(lambda status: len(ready(status)) == 2 and victim not in ready(status))
            pass_attempts(load, 50)
            report = load.stop()
        assert set(report.outcomes) <= {Outcome.OK, *LOST}, report.summary()
        assert report.failed <= active[victim], report.summary()


def test_who_is_served_by_whom_is_even() -> None:
    """The founding complaint, on a real framework: requests that take time, each on its own."""
    with BalancerServer(app=SITES + "fastapi_site:app", workers=3) as server:
        bodies = [raw.get(server.port, "/sleep/0.02").body for _ in range(30)]
        pids = Counter(json.loads(body)["pid"] for body in bodies)
    assert sorted(pids.values()) == [10, 10, 10]
