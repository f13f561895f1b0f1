"""The lifespan protocol (ASGI lifespan 2.0): an app starts before the first request, and stops.

One task runs the app for as long as the worker lives, because start-up and shutdown are two halves
of one coroutine, which may hold a nursery open in between.  What an app means by ending is a
question of when (``Stage``)::

    no word yet     it raises or returns: it has no lifespan; ``on`` takes that for a failure
    start-up        lifespan.startup.complete, or .failed; raising is failing where ``on`` is set
    running         it should not end; if it does, that is logged and the requests go on
    shutdown        lifespan.shutdown.complete, or .failed, or ending: all are the end

Nothing here waits on a clock or on I/O, only one half for the other: by trio's events, or by
asyncio's, which have the same methods.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, final

import trio

from balancer.apps.asgi.asyncio_only import SENTENCE, needs_asyncio, says_asyncio, use_uvicorn
from balancer.apps.tracebacks import describe
from balancer.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from balancer.apps.asgi.types import AsgiApp, AsgiConfig, Message, Scope

__all__ = ["Lifespan"]

logger = logging.getLogger("balancer")

SPEC = "2.0"


class Stage(Enum):
    """How far the app is."""

    SILENT = "it has not asked for an event"
    STARTING = "it was told to start"
    RUNNING = "it has started"
    STOPPING = "it was told to stop"
    OVER = "it has stopped, failed, or has no lifespan"


class Event(Protocol):
    """What ``trio.Event`` and ``asyncio.Event`` have in common."""

    def set(self) -> None: ...

    def is_set(self) -> bool: ...

    async def wait(self) -> object: ...


class Starter(Protocol):
    """Runs a task that belongs to somebody: ``trio.Nursery``, or its like on asyncio."""

    def start_soon(self, task: Callable[[], Coroutine[Any, Any, Any]], /) -> object: ...


@final
class Lifespan:
    """An app's start-up and shutdown; ``state`` is what it leaves for its requests.

    ``event`` makes the events of the loop that it runs on.
    """

    def __init__(
        self, app: AsgiApp, config: AsgiConfig, event: Callable[[], Event] = trio.Event
    ) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._name = config.name
        self._needed = config.lifespan == "on"
        self._stage = Stage.OVER if config.lifespan == "off" else Stage.SILENT
        self._failure: str | None = None
        self._on_trio = event is trio.Event
        self._settled = event()  # started, failed or without a lifespan
        self._shutdown = event()
        self._stopped = event()
        self._never = event()

    async def start(self, nursery: Starter) -> None:
        """Start the app, in the nursery; return when it has.

        Raises:
            AppError: it failed to start.
        """
        if self._stage is Stage.SILENT:
            nursery.start_soon(self._run)
            await self._settled.wait()
        if self._failure is not None:
            raise AppError(self._failure)

    async def stop(self) -> None:
        """Tell the app to stop, and wait until it has."""
        if self._stage is Stage.RUNNING:
            self._stage = Stage.STOPPING
            self._shutdown.set()
            await self._stopped.wait()

    async def _run(self) -> None:
        asgi = {"version": "3.0", "spec_version": SPEC}
        scope: Scope = {"type": "lifespan", "asgi": asgi, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - whatever an app raises; see the table above
            self._ended(error)
        else:
            self._ended(None)

    async def _receive(self) -> Message:
        if self._stage is Stage.SILENT:
            self._stage = Stage.STARTING
            return {"type": "lifespan.startup"}
        await self._shutdown.wait()
        if self._stopped.is_set():
            await self._never.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind not in {
            "lifespan.startup.complete",
            "lifespan.startup.failed",
            "lifespan.shutdown.complete",
            "lifespan.shutdown.failed",
        }:
            raise RuntimeError(f"{kind!r} is no message of the lifespan protocol")
        phase = kind.split(".")[1]
        if (phase == "startup") != (self._stage in {Stage.SILENT, Stage.STARTING}):
            raise RuntimeError(f"{kind} was sent when the app {self._stage.value}")
        if kind == "lifespan.startup.complete":
            self._stage = Stage.RUNNING
            self._settled.set()
        elif phase == "startup":
            what = f"app {self._name}: start-up failed"
            if self._on_trio and says_asyncio(str(message.get("message"))):
                what = f"{what}: {SENTENCE}"  # a framework has caught what asyncio said
            self._fail(_as_failure(what, message))
        else:
            if kind == "lifespan.shutdown.failed":
                logger.error(_as_failure(f"app {self._name}: shutdown failed", message))
            self._over()

    def _ended(self, error: Exception | None) -> None:
        stage = self._stage
        if stage in {Stage.SILENT, Stage.STARTING}:
            self._never_started(error)
        elif stage is Stage.RUNNING:
            if error is None:
                logger.warning("app %s: its lifespan ended while it was running", self._name)
            else:
                logger.error(describe(f"app {self._name}: its lifespan broke off", error))
        elif stage is Stage.STOPPING and error is not None:
            logger.error(describe(f"app {self._name}: shutdown failed", error))
        self._over()

    def _never_started(self, error: Exception | None) -> None:
        what = f"app {self._name}: start-up failed"
        if error is not None and self._on_trio and needs_asyncio(error):
            self._fail(f"{what}: {use_uvicorn(error)}")
        elif self._needed:
            if error is None:
                self._fail(f"{what}: it returned without lifespan.startup.complete (--lifespan on)")
            else:
                self._fail(describe(what, error))
        elif error is not None and self._stage is Stage.STARTING:
            # it knows the protocol, so this is no way to say that it doesn't
            logger.warning(
                describe(f"app {self._name}: its lifespan failed and is left out", error)
            )
        else:
            logger.debug("app %s has no lifespan", self._name)

    def _fail(self, failure: str) -> None:
        self._failure = failure
        self._stage = Stage.OVER
        self._settled.set()

    def _over(self) -> None:
        self._stage = Stage.OVER
        self._settled.set()
        self._stopped.set()


def _as_failure(what: str, message: Message) -> str:
    """A sentence, with the last line of what the app says in it, and all of that below."""
    text = str(message.get("message") or "").strip()
    if not text:
        return f"{what}: it gave no reason"
    last = text.splitlines()[-1].strip()
    return f"{what}: {last}" if last == text else f"{what}: {last}\n{text}"
