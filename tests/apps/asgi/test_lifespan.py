"""Start-up and shutdown of an ASGI app, in each of the three modes."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel
import trio.testing

from balancer.apps.asgi import AsgiConfig
from balancer.apps.asgi.lifespan import Lifespan
from balancer.errors import AppError
from balancer.settings import TrustedPeers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from balancer.apps.asgi import AsgiApp
    from balancer.apps.asgi.types import Message, Receive, Scope, Send

STARTED = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}
MODES = ("auto", "on", "off")


@asynccontextmanager
async def living(app: AsgiApp, mode: str = "auto") -> AsyncIterator[Lifespan]:
    """An app that has started; leaving stops it."""
    lifespan = Lifespan(app, AsgiConfig("site:app", mode, "", TrustedPeers(())))
    # an AppError comes out as itself, not in a group
    failure: AppError | None = None
    async with trio.open_nursery() as nursery:
        try:
            await lifespan.start(nursery)
        except AppError as error:
            failure = error
        else:
            yield lifespan
            with trio.fail_after(1):
                await lifespan.stop()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def polite(scope: Scope, receive: Receive, send: Send) -> None:
    """What the specification shows, with a note of what it was told."""
    assert scope["type"] == "lifespan"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
    told = scope["state"].setdefault("told", [])
    while True:
        message = await receive()
        told.append(message["type"])
        if message["type"] == "lifespan.startup":
            await send(STARTED)
        else:
            await send(STOPPED)
            return


async def http_only(scope: Scope, _receive: Receive, _send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError("only http")


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_it_starts_and_stops(mode: str) -> None:
    async with living(polite, mode) as lifespan:
        assert lifespan.state["told"] == ["lifespan.startup"]
    assert lifespan.state["told"] == ["lifespan.startup", "lifespan.shutdown"]


async def test_off_is_never_told() -> None:
    async with living(polite, "off") as lifespan:
        pass
    assert lifespan.state == {}


async def test_an_app_without_a_lifespan(caplog: pytest.LogCaptureFixture) -> None:
    async with living(http_only):
        pass
    assert not caplog.records


async def test_an_app_that_should_have_one() -> None:
    with pytest.raises(AppError) as caught:
        async with living(http_only, "on"):
            pass
    sentence, *frames = str(caught.value).splitlines()
    assert sentence.startswith("app site:app: start-up failed: RuntimeError: only http")
    assert "in http_only" in frames[0]
    assert not any("balancer/apps" in frame and "tests" not in frame for frame in frames)


async def test_an_app_that_returns_at_once() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        pass

    async with living(app):
        pass
    with pytest.raises(AppError, match=r"without lifespan.startup.complete \(--lifespan on\)"):
        async with living(app, "on"):
            pass


def failing(message: Message, *, raises: bool) -> AsgiApp:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(message)
        if raises:
            raise ValueError("as Starlette does")

    return app


TRACEBACK = 'Traceback (most recent call last):\n  File "mine.py", line 3\nOSError: no database'


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no database", "app site:app: start-up failed: no database"),
        ("", "app site:app: start-up failed: it gave no reason"),
        (TRACEBACK, f"app site:app: start-up failed: OSError: no database\n{TRACEBACK}"),
    ],
)
async def test_an_app_that_says_that_it_failed(
    text: str, said: str, mode: str, raises: bool, caplog: pytest.LogCaptureFixture
) -> None:
    message = {"type": "lifespan.startup.failed", "message": text}
    with pytest.raises(AppError) as caught:
        async with living(failing(message, raises=raises), mode):
            pass
    assert str(caught.value) == said
    assert not caplog.records


async def test_an_app_that_raises_while_it_starts(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        raise OSError("no database")

    async with living(app):  # the specification: "the server must continue"
        pass
    assert "its lifespan failed and is left out: OSError: no database" in caplog.text
    with pytest.raises(AppError, match="start-up failed: OSError: no database"):
        async with living(app, "on"):
            pass


async def test_an_app_that_needs_asyncio() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        import asyncio

        asyncio.get_running_loop()

    with pytest.raises(AppError, match="--engine uvicorn"):
        async with living(app):
            pass


async def test_one_whose_framework_has_caught_what_asyncio_said() -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        said = "Traceback …\nRuntimeError: no running event loop"
        await send({"type": "lifespan.startup.failed", "message": said})

    with pytest.raises(AppError, match=r"--engine uvicorn.*no running event loop"):
        async with living(app):
            pass


@pytest.mark.parametrize("kind", ["lifespan.shutdown.complete", "http.response.start", "nonsense"])
async def test_what_may_not_be_sent_at_start(kind: str) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        with pytest.raises(RuntimeError, match=kind):
            await send({"type": kind})
        await send(STARTED)
        with pytest.raises(RuntimeError, match="was sent when the app it has started"):
            await send(STARTED)
        assert (await receive())["type"] == "lifespan.shutdown"
        await send(STOPPED)

    async with living(app, "on"):
        pass


@pytest.mark.parametrize(
    ("how", "level", "said"),
    [
        ("returns", logging.WARNING, "its lifespan ended while it was running"),
        ("raises", logging.ERROR, "its lifespan broke off: ValueError: mine"),
    ],
)
async def test_a_lifespan_that_ends_early(
    how: str, level: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(STARTED)
        if how == "raises":
            raise ValueError("mine")

    async with living(app):
        await trio.testing.wait_all_tasks_blocked()
    (record,) = caplog.records
    assert record.levelno == level
    assert said in record.getMessage()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("says so", "shutdown failed: it is too late"),
        ("raises", "shutdown failed: ValueError: mine"),
        ("returns", ""),
    ],
)
async def test_a_shutdown_that_fails(how: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(STARTED)
        await receive()
        if how == "says so":
            await send({"type": "lifespan.shutdown.failed", "message": "it is too late"})
        elif how == "raises":
            raise ValueError("mine")

    async with living(app):
        pass
    assert said in caplog.text
    assert bool(caplog.records) is bool(said)


async def test_a_nursery_of_the_app_lives_as_long() -> None:
    """Start-up and shutdown are one coroutine: it may hold a nursery open in between."""
    beats = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            await receive()
            nursery.start_soon(beat)
            scope["state"]["nursery"] = nursery
            await send(STARTED)
            await receive()
            nursery.cancel_scope.cancel()
        await send(STOPPED)

    async with living(app) as lifespan:
        assert isinstance(lifespan.state["nursery"], trio.Nursery)
        while beats < 3:
            await trio.lowlevel.checkpoint()
