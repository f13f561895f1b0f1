"""The pool: who waits, what is counted, and what becomes of threads that don't come back."""

from __future__ import annotations

import contextvars
import logging
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from balancer.apps.wsgi.mailbox import Mailbox
from balancer.apps.wsgi.threads import ThreadPool
from balancer.errors import AppError
from balancer.http1 import Http1Config
from tests.apps.wsgi.lab import DEADLINE, GET, PLAIN, ask, read_until, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.apps.wsgi.lab import Environ, Site, StartResponse


class Work:
    """A job that runs until it is told to end."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()
        self.thread = ""

    def run(self) -> None:
        self.thread = threading.current_thread().name
        self.began.set()
        self.go.wait(DEADLINE)

    async def wait_begun(self) -> None:
        assert await trio.to_thread.run_sync(self.began.wait, DEADLINE)


@asynccontextmanager
async def pool_of(size: int) -> AsyncIterator[tuple[ThreadPool, list[int]]]:
    free: list[int] = []
    mailbox = Mailbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.run)
        pool = ThreadPool(size, mailbox, free.append)
        pool.start()
        yield pool, free
        pool.close()
        nursery.cancel_scope.cancel()


async def idle(pool: ThreadPool) -> None:
    with trio.fail_after(DEADLINE):
        await pool.wait_idle()


class TestPool:
    async def test_so_many_run_and_the_rest_waits_in_order(self) -> None:
        works = [Work() for _ in range(5)]
        async with pool_of(2) as (pool, free):
            for work in works:
                pool.submit(work)
            assert free == [2, 1, 0, 0, 0, 0]
            await works[0].wait_begun()
            await works[1].wait_begun()
            assert not any(work.began.is_set() for work in works[2:])
            works[1].go.set()
            await works[2].wait_begun()
            assert not works[3].began.is_set()
            for work in works:
                work.go.set()
            await idle(pool)
            assert free[-2:] == [1, 2]
        assert {work.thread for work in works} == {"wsgi-1", "wsgi-2"}

    async def test_a_thread_that_does_not_come_back_is_replaced(self) -> None:
        stuck, next_one = Work(), Work()
        async with pool_of(1) as (pool, free):
            pool.look(10.0, 5.0)
            pool.submit(stuck)
            pool.submit(next_one)
            await stuck.wait_begun()
            assert pool.look(14.9, 5.0) == []
            [found] = pool.look(15.0, 5.0)
            assert found.job is stuck
            assert found.thread == "wsgi-1"
            assert "self.go.wait(DEADLINE)" in found.stack
            assert "self._pool.work" not in found.stack
            assert pool.look(16.0, 5.0) == []  # once; and the other has only just begun
            await next_one.wait_begun()
            next_one.go.set()
            await idle(pool)
            assert (pool.stuck, free[-1]) == (1, 1)
            stuck.go.set()  # if it ever returns, it ends
            await until_gone("wsgi-1")
            assert (pool.stuck, free[-1]) == (0, 1)

    async def test_not_more_often_than_is_sane(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("balancer.apps.wsgi.threads.MOST_STUCK", 1)
        works = [Work(), Work()]
        async with pool_of(1) as (pool, free):
            for number, work in enumerate(works, 1):
                pool.submit(work)
                await work.wait_begun()
                assert len(pool.look(10.0 * number, 5.0)) == 1
            assert free[-1] == 0
            for work in works:
                work.go.set()

    async def test_threads_that_cannot_be_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        async with trio.open_nursery() as nursery:
            mailbox = Mailbox()
            nursery.start_soon(mailbox.run)
            pool = ThreadPool(3, mailbox, lambda _: None)
            with monkeypatch.context() as patch:
                patch.setattr("balancer.apps.wsgi.threads._Thread.start", start)
                with pytest.raises(AppError, match=r"^--threads 3: can't start new thread$"):
                    pool.start()
            nursery.cancel_scope.cancel()


async def until_gone(name: str) -> None:
    # the newest of that name: a worker that another test has cut off leaves its threads idle
    for thread in [each for each in threading.enumerate() if each.name == name][-1:]:
        await trio.to_thread.run_sync(thread.join, DEADLINE)
        assert not thread.is_alive()
    await trio.testing.wait_all_tasks_blocked()


class TestMailbox:
    async def test_what_many_threads_post_is_all_done(self) -> None:
        done: list[int] = []
        all_done = trio.Event()

        def note(number: int) -> None:
            done.append(number)
            if len(done) == 4000:
                all_done.set()

        def post(first: int) -> None:
            for number in range(first, first + 1000):
                mailbox.post(partial(note, number))

        mailbox = Mailbox()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailbox.run)
            for first in range(0, 4000, 1000):
                nursery.start_soon(trio.to_thread.run_sync, post, first)
            with trio.fail_after(DEADLINE):
                await all_done.wait()
            nursery.cancel_scope.cancel()
        for first in range(0, 4000, 1000):
            mine = [number for number in done if first <= number < first + 1000]
            assert mine == sorted(mine)

    async def test_after_the_end_nothing_happens(self) -> None:
        mailbox = Mailbox()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailbox.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        mailbox.post(lambda: None)


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


async def test_contexts_are_clean() -> None:
    VARIABLE.set("at import")

    def app(_: Environ, start_response: StartResponse) -> list[bytes]:
        found = VARIABLE.get()
        VARIABLE.set("in a request")
        start_response("200 OK", PLAIN)
        return [found.encode()]

    answer = await ask(app, GET * 2)
    assert answer.count(b"at import") == 2
    assert VARIABLE.get() == "at import"


class Gates:
    """An app whose requests end when their gate is opened; ``/`` ends at once."""

    def __init__(self) -> None:
        self.gates = {name: threading.Event() for name in "abc"}
        self.began: list[str] = []
        self.beginning = threading.Condition()

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        name = environ["PATH_INFO"][1:]
        with self.beginning:
            self.began.append(name)
            self.beginning.notify_all()
        if name:
            self.gates[name].wait(DEADLINE)
        start_response("200 OK", PLAIN)
        return [b"done " + name.encode()]

    async def wait_begun(self, count: int) -> None:
        def wait() -> bool:
            with self.beginning:
                return self.beginning.wait_for(lambda: len(self.began) >= count, DEADLINE)

        assert await trio.to_thread.run_sync(wait)


def get(path: str) -> bytes:
    return GET.replace(b" / ", f" /{path} ".encode())


async def test_requests_wait_for_a_thread_in_the_order_in_which_they_came() -> None:
    app = Gates()
    async with serving(app) as site:
        clients = {}
        for count, name in enumerate("abc", 1):
            client = clients[name] = site.connect()
            await client.send_all(get(name))
            with trio.fail_after(DEADLINE):
                while len(site.host.free) < count + 1:
                    await trio.lowlevel.checkpoint()
        assert site.host.free == [1, 0, 0, 0]
        await app.wait_begun(1)
        assert app.began == ["a"]
        for gate in app.gates.values():
            gate.set()
        for name, client in clients.items():
            await read_until(client, f"done {name}".encode())
            await client.aclose()
        assert app.began == ["a", "b", "c"]
        await site.service.stop()
        assert site.host.free[-1] == 1


class TestTimeout:
    """The clock is the test's: ``tick`` moves it by a second at most."""

    ENGINE = Http1Config(request_timeout=3.0)

    def ticks(self, site: Site, count: int, first: float = 0.0) -> float:
        for number in range(count + 1):
            site.service.tick(first + number)
        return first + count

    @pytest.fixture(autouse=True)
    def log(self, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
        logging.getLogger("balancer").propagate = True
        return caplog

    async def test_the_client_gets_a_504_and_the_worker_a_successor(
        self, log: pytest.LogCaptureFixture
    ) -> None:
        app = Gates()
        async with serving(app, engine=self.ENGINE) as site, site.connect() as client:
            self.ticks(site, 1)
            await client.send_all(get("a"))
            await app.wait_begun(1)
            now = self.ticks(site, 2, 1.0)
            await trio.testing.wait_all_tasks_blocked()
            assert site.host.wishes == []
            site.service.tick(now + 1)
            answer = await read_until(client, b")\n")
            assert answer.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
            site.service.tick(now + 1.25)
            assert site.host.wishes == ["request-timeout"]
            assert site.host.free[-1] == 1  # another thread has its place
            async with site.connect() as other:
                await other.send_all(get(""))
                await read_until(other, b"done ")
            [line] = [each.message for each in log.records if "can't be stopped" in each.message]
            assert "thread wsgi-1" in line
            assert "GET /a" in line
            assert "self.gates[name].wait(DEADLINE)" in line
            await site.service.stop()
            assert site.host.gave_up
            app.gates["a"].set()
            await until_gone("wsgi-1")

    async def test_one_that_notices_is_not_stuck(self, log: pytest.LogCaptureFixture) -> None:
        """It waits for its client, and hears that there is none any more."""
        began, ended = threading.Event(), threading.Event()

        def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
            began.set()
            try:
                environ["wsgi.input"].read()
            finally:
                ended.set()
            start_response("200 OK", PLAIN)
            return [b"ok"]

        async with serving(app, engine=self.ENGINE) as site, site.connect() as client:
            self.ticks(site, 1)
            await client.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
            assert await trio.to_thread.run_sync(began.wait, DEADLINE)
            now = self.ticks(site, 3, 1.0)
            assert (await read_until(client, b")\n")).startswith(b"HTTP/1.1 504 ")
            assert await trio.to_thread.run_sync(ended.wait, DEADLINE)
            await site.service.stop()
            site.service.tick(now + 1)
            assert site.host.wishes == []
            assert not site.host.gave_up
        assert "failed" not in log.text

    async def test_one_that_got_no_thread_gets_a_503(self) -> None:
        app = Gates()
        async with serving(app, engine=self.ENGINE) as site:
            first, second = site.connect(), site.connect()
            now = self.ticks(site, 1)
            await first.send_all(get("a"))
            await app.wait_begun(1)
            await second.send_all(get("b"))
            with trio.fail_after(DEADLINE):
                while len(site.host.free) < 3:
                    await trio.lowlevel.checkpoint()
            self.ticks(site, 3, now)
            assert (await read_until(second, b")\n")).startswith(b"HTTP/1.1 503 ")
            app.gates["a"].set()
            await site.service.stop()
            assert app.began == ["a"]  # what nobody waits for isn't begun
            await first.aclose()
            await second.aclose()

    async def test_a_thread_may_be_stuck_behind_its_response(self) -> None:
        app = Gates()

        class Body(list[bytes]):
            def close(self) -> None:
                app.gates["c"].wait(DEADLINE)

        def site_app(_: Environ, start_response: StartResponse) -> list[bytes]:
            start_response("200 OK", PLAIN)
            return Body([b"done"])

        async with serving(site_app, engine=self.ENGINE) as site, site.connect() as client:
            self.ticks(site, 1)
            await client.send_all(GET)
            await read_until(client, b"done")
            self.ticks(site, 4, 1.0)
            assert site.host.wishes == ["request-timeout"]
            app.gates["c"].set()
            await until_gone("wsgi-1")

    async def test_what_is_cancelled_leaves_its_thread_behind(self) -> None:
        """The worker's time is up: ``stop`` is cancelled."""
        app = Gates()
        async with serving(app) as site, site.connect() as client:
            await client.send_all(get("a"))
            await app.wait_begun(1)
            with trio.move_on_after(0.01) as scope:
                await site.service.stop()
            assert scope.cancelled_caught
            assert site.host.gave_up
            app.gates["a"].set()
