"""A WSGI app as a worker's service: its requests wait for a thread, and its threads are counted.

What ``--request-timeout`` means here: the client gets its answer from the engine, as with any other
app.  The thread hears of it when it next reads or writes.  One that doesn't, and is still at it a
moment later, is stuck: its stack goes to the log, another thread takes its place, and the worker
asks to be replaced, because only the end of the process ends a thread.
"""

from __future__ import annotations

import contextvars
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, final

import trio

from balancer.apps.service import HttpService
from balancer.apps.tracebacks import describe
from balancer.apps.wsgi.call import Call
from balancer.apps.wsgi.environ import base_environ, make_environ
from balancer.apps.wsgi.input import Input
from balancer.apps.wsgi.mailbox import Mailbox
from balancer.apps.wsgi.parking import Parking
from balancer.apps.wsgi.response import Response
from balancer.apps.wsgi.threads import ThreadPool
from balancer.http1.errors import ClientGone, MisuseError, RequestError

if TYPE_CHECKING:
    from balancer.apps.service import Host
    from balancer.apps.wsgi.threads import Stuck
    from balancer.apps.wsgi.types import Environ, WsgiApp, WsgiConfig
    from balancer.http1.config import Http1Config
    from balancer.http1.exchange import Exchange
    from balancer.http1.tally import Stats

__all__ = ["WsgiService"]

logger = logging.getLogger("balancer")

GRACE = 0.2
"""Seconds that a thread gets to notice that its request's time is over: until the next tick."""
NO_THREAD = RequestError(503, "no thread was free for this request in time")


@final
class WsgiService(HttpService):
    """Serves HTTP with a WSGI app."""

    def __init__(
        self, app: WsgiApp, config: WsgiConfig, engine: Http1Config, stats: Stats, host: Host
    ) -> None:
        super().__init__(self.handle, engine, stats)
        self.tick = self._tick
        self.open = self._open
        self._app = app
        self._config = config
        self._limit = engine.request_timeout
        self._host = host
        self._base = base_environ(config)
        # What the app has set while it was imported, and nothing of any request.
        self._context = contextvars.copy_context()
        # a limit has a cancel scope, which is bound to a task
        self._parking = None if engine.request_timeout else Parking()
        self._mailbox: Mailbox
        self._pool: ThreadPool

    async def start(self, nursery: trio.Nursery) -> None:
        self._mailbox = Mailbox()
        nursery.start_soon(self._mailbox.run)
        self._pool = ThreadPool(self._config.threads, self._mailbox, self._host.seats)
        self._pool.start()

    def _open(self, nursery: trio.Nursery) -> None:
        self._server.open(nursery)
        if self._parking is not None:
            self._parking.open(nursery)

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request: the engine's handler."""
        first = exchange.read_nowait()
        call = Call(exchange, self._mailbox, self._parking)
        environ = make_environ(self._base, exchange, self._config)
        environ["wsgi.input"] = Input(first, exchange.body_read, call.fetch)
        self._pool.submit(_Request(self, call, environ))
        try:
            await call.serve()
        except trio.Cancelled:
            if call.started:
                raise
            logger.error(
                "%s found no thread free (request %s)", _name(environ), exchange.request_id
            )
            if not self._limit:  # the worker ends, and with it everything
                raise
            raise NO_THREAD from None

    async def stop(self) -> None:
        """Wait for threads whose clients have gone, or have their response already."""
        try:
            await self._pool.wait_idle()
            if self._pool.stuck:
                self._host.give_up()
        except trio.Cancelled:
            self._host.give_up()
            raise
        finally:
            self._pool.close()

    def _tick(self, now: float) -> None:
        self._server.tick(now)
        if self._limit:
            for stuck in self._pool.look(self._server.now, self._limit + GRACE):
                self._report(stuck)
                self._host.leave("request-timeout")

    def _report(self, stuck: Stuck) -> None:
        assert isinstance(stuck.job, _Request)
        logger.error(
            "app %s: thread %s can't be stopped %g s after its request began (%s): this worker "
            "needs a successor\n%s",
            self._config.name,
            stuck.thread,
            self._limit,
            _name(stuck.job.environ),
            stuck.stack,
        )

    def run(self, request: _Request) -> None:
        """In a thread: have the app answer a request, whatever comes of it."""
        call = request.call
        if not call.start():
            return
        response = Response(call, request.environ["REQUEST_METHOD"])
        try:
            self._context.copy().run(response.run, self._app, request.environ)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: a thread has nobody above it
            nobody_hears = call.over and not response.complete
            if not (nobody_hears and _is_reaction(error)):
                self._log(request, error)
            if not response.complete:
                with suppress(ClientGone):
                    call.fail()

    def _log(self, request: _Request, error: BaseException) -> None:
        name = f"{_name(request.environ)} failed (request {request.call.request_id})"
        what = f"app {self._config.name}: {name}"
        if isinstance(error, MisuseError):
            logger.error("%s", describe(what, error))
        else:
            logger.error("%s", what, exc_info=error)


@final
class _Request:
    """A request on its way to a thread."""

    __slots__ = ("_service", "call", "environ")

    def __init__(self, service: WsgiService, call: Call, environ: Environ) -> None:
        self._service = service
        self.call = call
        self.environ = environ

    def run(self) -> None:
        """As in ``Job``."""
        self._service.run(self)


def _name(environ: Environ) -> str:
    return f"{environ['REQUEST_METHOD']} {environ['RAW_URI']}"


def _is_reaction(error: BaseException | None) -> bool:
    """Whether an app's exception says no more than that its client has gone."""
    while error is not None:
        if isinstance(error, OSError):
            return True
        error = error.__cause__ or error.__context__
    return False
