"""Apps and pools in one server, and upstreams that come, go and rest under load.

The master runs in the test's process, so that the test can tell it what a command will; workers,
watcher and upstreams are real processes.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from balancer.errors import RunError, UsageError
from balancer.master.operations import Phase
from balancer.master.plan import Plan
from balancer.master.run import Master
from balancer.master.surroundings import Surroundings
from balancer.settings import Settings, TcpBind
from balancer.settings.table import Service
from tests.faults.upstream import Upstream
from tests.support import raw
from tests.support.client import InThread
from tests.support.client import Plan as LoadPlan
from tests.support.server import BalancerServer
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from balancer.core.control import UpstreamStatus

ANY_PORT = TcpBind("127.0.0.1", 0)
RATE = 100
PLAN = Plan(attended=False, control=False)
FILE = """
[[listeners]]
bind = "127.0.0.1:0"
pool = "api"
[[listeners]]
bind = "127.0.0.1:0"
pool = "img"
[[listeners]]
bind = ["127.0.0.1:0", "127.0.0.1:0"]
app = "site"
[pools.api]
upstreams = ["{}"]
[pools.img]
upstreams = ["{},max=3"]
upstream_policy = "hash:ip"
probe = "http:/served"
[apps.site]
app = "wsgi:tests.e2e.test_pools:site"
root_path = "/here"
threads = 2
"""
QUICK = Settings(probe_interval=0.1, probe_timeout=0.5, log_level="warning", graceful_timeout=5.0)


def site(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Says how it is served."""
    said = {
        "app": "wsgi",
        "root": environ["SCRIPT_NAME"],
        "threads": 1 + environ["wsgi.multithread"],
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(said).encode()]


@contextmanager
def upstreams(*names: str) -> Iterator[list[Upstream]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Upstream(name)) for name in names]


def address(upstream: Upstream) -> str:
    return f"127.0.0.1:{upstream.port}"


def pool(*servers: Upstream | str, **more: object) -> Settings:
    texts = tuple(each if isinstance(each, str) else address(each) for each in servers)
    return dataclasses.replace(QUICK, upstreams=texts, **more)  # type: ignore[arg-type]


def whole(workers: int = 2, **services: Settings) -> Settings:
    """One listener for each service, in their order."""
    return dataclasses.replace(
        QUICK,
        workers=workers,
        bind=(ANY_PORT,) * len(services),
        services=tuple(Service(name, each) for name, each in services.items()),
        service_of_bind=tuple(range(len(services))),
    )


class Configuration:
    """What a reload reads: ``settings``, which a test changes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self) -> tuple[Settings, None]:
        return self.settings, None


@asynccontextmanager
async def serving(settings: Settings, read: Configuration | None = None) -> AsyncIterator[Master]:
    surroundings = Surroundings(read)
    with trio.fail_after(60), Master(settings, PLAN, None, surroundings) as master:
        async with trio.open_nursery() as nursery:
            await nursery.start(master.serve)
            try:
                await master.supervisor.all_ready.wait()
                await until(lambda: master.operations.phase is Phase.RUNNING)
                yield master
            finally:
                with trio.CancelScope(shield=True):
                    await master.operations.stop(quick=True)


def port(master: Master, lane: int = 0) -> int:
    name = master.ports.names[lane]
    assert isinstance(name, tuple)
    number: int = name[1]
    return number


async def ask(master: Master, lane: int = 0) -> str:
    """Who answers."""
    answer = await trio.to_thread.run_sync(raw.get, port(master, lane))
    assert answer.status == 200, answer.body
    return answer.body.decode().removeprefix("Hello from worker ").partition(" ")[0]


async def status_of(master: Master, lane: int = 0) -> int:
    answer = await trio.to_thread.run_sync(raw.get, port(master, lane))
    return answer.status


async def voices(master: Master, lane: int = 0, count: int = 6) -> set[str]:
    return {await ask(master, lane) for _ in range(count)}


def state(master: Master, upstream: Upstream, pool: str = "") -> UpstreamStatus:
    (found,) = [
        each
        for each in master.operations.status().upstreams
        if each.address == address(upstream) and each.pool == pool
    ]
    return found


@asynccontextmanager
async def load(master: Master, lane: int = 0, rate: int = RATE) -> AsyncIterator[InThread]:
    """Requests all the time, none of which may fail."""
    with InThread(LoadPlan(port=port(master, lane), rate=rate, duration=3600)) as running:
        await attempts(running, 30)
        yield running
        await attempts(running, 25)
        report = await trio.to_thread.run_sync(running.stop)
    assert report.failed == 0, report.summary()


async def attempts(running: InThread, count: int) -> None:
    wanted = running.report.outcomes.total() + count
    await trio.to_thread.run_sync(partial(running.wait_for_attempts, wanted, deadline=30.0))


async def test_apps_and_pools_in_one_server() -> None:
    with upstreams("a1", "a2", "b1") as (a1, a2, b1):
        settings = whole(
            site=QUICK,
            api=pool(a1, a2, upstream_policy="round-robin"),
            # the same server is another upstream here, with a limit of its own
            img=pool(b1, f"{address(a1)},max=1", sticky="route"),
        )
        async with serving(settings) as master:
            assert await voices(master, 0) <= {"1", "2"}, "the demo's own workers"
            assert await voices(master, 1) == {"a1", "a2"}
            assert await voices(master, 2) == {"b1", "a1"}
            seen = master.operations.status().upstreams
            assert [(each.pool, each.address, each.max) for each in seen] == [
                ("api", address(a1), 0),
                ("api", address(a2), 0),
                ("img", address(b1), 0),
                ("img", address(a1), 1),
            ]
            assert {each.requests for each in seen} <= {2, 3, 4}
            answer = await trio.to_thread.run_sync(raw.get, port(master, 2))
            assert "route" in answer.headers["set-cookie"]
            answer = await trio.to_thread.run_sync(raw.get, port(master, 1))
            assert "set-cookie" not in answer.headers


def test_what_a_file_says(tmp_path: Path) -> None:
    with upstreams("a", "b") as (a, b):
        file = tmp_path / "balancer.toml"
        file.write_text(FILE.format(address(a), address(b)))
        with BalancerServer(file=file, listeners=4, workers=1) as server:
            pools = [raw.get(port).body.split()[3] for port in server.ports[:2]]
            assert pools == [b"a", b"b"]
            assert [raw.get(port).json for port in server.ports[2:]] == [
                {"app": "wsgi", "root": "/here", "threads": 2}
            ] * 2
            seen = {each["pool"]: each for each in server.status()["upstreams"]}
            assert seen["api"]["requests"] == seen["img"]["requests"] == 1
            server.wait_for_line(r"pool api: in front of http://\S+ \(round-robin\)")
            server.wait_for_line(r"pool img: in front of http://\S+ \(hash:ip\)")


async def test_each_pool_has_its_own_probes_and_queue() -> None:
    with upstreams("a", "b") as (a, b):
        settings = whole(
            workers=2,
            api=pool(f"{address(a)},max=1", probe="off"),
            img=pool(f"{address(b)},max=1", probe_fall=1),
        )
        async with serving(settings) as master:
            a.kill()
            b.kill()
            await until(lambda: state(master, b, "img").state == "down")
            assert state(master, a, "api").state == "ready"
            a.start()
            b.start()
            await until(lambda: state(master, b, "img").state == "ready")
            # often more at a time than there is room for: who waits is woken by its own pool
            async with load(master, 0, 60), load(master, 1, 60):
                pass
            assert await voices(master, 0) == {"a"}
            assert await voices(master, 1) == {"b"}


@pytest.mark.parametrize("policy", [pytest.param("shared", marks=pytest.mark.soak), "reuseport"])
async def test_the_kernels_policies(policy: str) -> None:
    with upstreams("a", "b") as (a, b):
        settings = whole(api=pool(a), img=pool(b), site=QUICK)
        async with serving(dataclasses.replace(settings, policy=policy)) as master:
            assert await voices(master, 0) == {"a"}
            assert await voices(master, 1) == {"b"}
            assert await voices(master, 2) <= {"1", "2"}


async def test_drained_and_back_under_load(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "balancer")
    with upstreams("a", "b") as (a, b):
        async with serving(dataclasses.replace(pool(a, b), workers=2, bind=(ANY_PORT,))) as master:
            back = master.operations._upstreams
            assert back is not None
            async with load(master) as running:
                rows = back.drain(address(a))
                await back.idle(rows, address(a))
                served = await trio.to_thread.run_sync(a.served)
                assert (state(master, a).state, state(master, a).active) == ("drained", 0)
                await attempts(running, 25)
                assert await trio.to_thread.run_sync(a.served) == served
                await trio.to_thread.run_sync(a.stop)  # nobody notices
                await attempts(running, 25)
                await trio.to_thread.run_sync(a.start)
                await until(lambda: back.states()[0].state == "drained")
                back.resume(f"http://{address(a)}")
                await attempts(running, 25)
                assert await trio.to_thread.run_sync(a.served) > 0
            back.drain(address(a))
            back.drain(address(b))
            assert await status_of(master) == 503
            (line,) = [each for each in caplog.messages if "gets a 503" in each]
            assert line.startswith("the proxy: all upstreams are drained: every request gets a 503")
            with pytest.raises(RunError, match="drain nobody:1: there is no such upstream"):
                back.drain("nobody:1")


async def test_another_weight_and_another_list_under_load() -> None:
    with upstreams("a", "b", "c", "d") as (a, b, c, d):
        file = Configuration(whole(api=pool(a, b), site=QUICK))
        async with serving(file.settings, file) as master:
            back = master.operations._upstreams
            assert back is not None
            async with load(master) as running:
                back.weigh(f"api/{address(a)}", 9)
                requests = state(master, a, "api").requests, state(master, b, "api").requests
                await attempts(running, 80)
                more = state(master, a, "api").requests - requests[0]
                assert more > 5 * (state(master, b, "api").requests - requests[1])
                back.drain(address(a))

                # a file that can't be: nothing happens
                bad = whole(api=pool(a, "[fe80::1%nowhere]:80"), site=QUICK)
                with pytest.raises(UsageError, match="connected to from here"):
                    await back.prepare(bad)
                assert len(back.states()) == 2

                # all but one are others
                change = await back.prepare(whole(api=pool(a, c), new=pool(d)))
                await back.commit(change)
                assert re.fullmatch(r"\+ api/\S+, \+ new/\S+, - api/\S+", change.summary()), (
                    change.summary()
                )
                assert state(master, a, "api").state == "drained"
                assert state(master, a, "api").weight == 9
                await attempts(running, 25)  # by workers who know only a and b
                assert await ask(master) == "b"
                file.settings = whole(api=pool(a, c), new=pool(d))
                await master.operations.reload(wait=True)
                await until(lambda: not back.book.left)
                assert {each.address for each in back.states()} == {
                    address(a), address(c), address(d)
                }  # fmt: skip
                await trio.to_thread.run_sync(b.stop)
                await attempts(running, 25)
                assert await ask(master) == "c"
                assert await ask(master, 1) == "d"

                # the file says another weight than before, and so does not the drain
                file.settings = whole(api=pool(f"{address(a)},weight=2", c), new=pool(d))
                await master.operations.reload(wait=True)
                assert state(master, a, "api").weight == 2
                assert state(master, a, "api").state == "drained"
                back.resume(address(a))
                assert await voices(master) == {"a", "c"}
