"""One worker's uvicorn: its configuration, its connections, and how they end.

uvicorn's ``Server`` stays out: it listens, takes signals and polls.  What it does for its protocols
is done here: one ``ServerState`` that they share, the date in its default headers, ``shutdown()``.

**What a drain promises.**  From its beginning every response that has not begun says
``Connection: close`` (the header stands among uvicorn's default headers, which it reads at the last
moment), and its connection ends with it; a response that has begun is sent to its end, then its
connection is closed.  A connection without a request stays open for ``drain_idle`` more seconds, so
that a client that is about to send is answered, and then gets a last look: it is closed only if
there is nothing to read, neither in uvicorn nor in the kernel.  A head that has begun gets the rest
of its ``header_timeout``.  What is left is the race that HTTP has anyway: a request that is on the
wire while an idle connection is closed is not answered, and was not begun (RFC 9112, 9.3.1).

WebSockets live on, until the drain's time is over or, when the server stops, at once: then they
are closed with 1012, "service restart".  A handshake that the app hasn't answered is left to it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast, final

from uvicorn import Config
from uvicorn.server import ServerState

from balancer.apps.asgi.lifespan import Lifespan, Starter
from balancer.apps.tracebacks import describe
from balancer.apps.uvicorn.front import CLOSE, Front
from balancer.apps.uvicorn.limit import limited
from balancer.apps.uvicorn.protocols import (
    HttpConnection,
    WebSocketConnection,
    http_class,
    ws_class,
)
from balancer.apps.uvicorn.websocket import serve_websockets
from balancer.core.requestid import RequestIds
from balancer.errors import RunError
from balancer.http1.tally import Tally

if TYPE_CHECKING:
    from balancer.apps.asgi.types import AsgiApp, AsgiConfig
    from balancer.apps.uvicorn.watch import Watcher
    from balancer.core.logrecord import Sink
    from balancer.http1.tally import Stats

__all__ = ["UvicornConfig", "UvicornService"]

logger = logging.getLogger("balancer")

CUT = 1.0
"""Seconds for requests to notice that they were cancelled."""


@final
@dataclass(frozen=True, slots=True)
class UvicornConfig:
    """As in ``Http1Config``; the limits and clocks that are missing uvicorn has none for.

    ``watcher`` sees requests come and go.
    """

    keep_alive: float = 75.0
    keep_alive_requests: int = 1000
    header_timeout: float = 10.0
    max_head: int = 32768
    drain_idle: float = 1.0
    request_timeout: float = 0.0
    debug: bool = False
    access: Sink | None = None
    watcher: Watcher | None = None
    ids: RequestIds = field(default_factory=partial(RequestIds, ""), compare=False)


class Host(Starter, Protocol):
    """Whoever runs a service: keeps its tasks, and is told what ends."""

    def connection_ended(self) -> None:
        """A connection has ended."""


@final
class UvicornService:
    """Serves connections with an ASGI app on the running asyncio loop.

    Raises:
        RunError: this uvicorn can't be set up.
    """

    def __init__(
        self,
        app: AsgiApp,
        asgi: AsgiConfig,
        config: UvicornConfig,
        stats: Stats,
    ) -> None:
        self._config = config
        self._tally = Tally(stats)
        self._front = Front(
            app,
            asgi.trusted,
            config.ids,
            self._tally,
            config.access,
            config.watcher,
            asgi.root_path,
        )
        self._uvicorn = _configure(serve_websockets(self._front), asgi, config)
        if config.request_timeout:
            self._front.app = limited(app, config.request_timeout)
        self._lifespan = Lifespan(app, asgi, asyncio.Event)
        self._http = ServerState()
        # One of their own, or the handshake's 101 would say "close" in a drain; and so that the
        # two kinds are kept apart.
        self._websockets = ServerState()
        self._websockets.tasks = self._http.tasks
        self._http_class = http_class(
            self._uvicorn.http_protocol_class,
            self,
            self._front,
            max_requests=config.keep_alive_requests,
        )
        if (base := self._uvicorn.ws_protocol_class) is not None:
            # called by uvicorn like the class that it has read here
            self._ws_class = ws_class(base, self)
            self._uvicorn.ws_protocol_class = cast("Any", self._make_websocket)
        self._loop: asyncio.AbstractEventLoop
        self._host: Host
        self._open: dict[asyncio.BaseTransport, socket.socket] = {}
        self._attaching: set[asyncio.Task[None]] = set()
        self._dated = 0
        self._draining_since: float | None = None
        self._closing = False

    async def start(self, host: Host) -> None:
        """Start the app; its lifespan is a task of the host's.

        Raises:
            AppError: the app can't start.
        """
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._date()
        await self._lifespan.start(host)

    @property
    def calls(self) -> set[asyncio.Task[None]]:
        """The calls of the app that have not returned; one may have outlived its connection."""
        return self._http.tasks

    def serve(self, sock: socket.socket) -> None:
        """Serve a connection to its end; owns the socket."""
        task = self._loop.create_task(self._attach(sock))
        self._attaching.add(task)
        task.add_done_callback(self._attaching.discard)

    def tick(self) -> None:
        """Time has moved; called about every 0.25 seconds."""
        self._tally.flush()
        self._date()
        now = self._loop.time()
        connections = cast("list[HttpConnection]", list(self._http.connections))
        for each in connections:
            if each.transport.is_closing():
                continue
            if each.head_age(now) > self._config.header_timeout:
                each.transport.close()
            elif each.head_begun and each.head_size > self._config.max_head:
                each.send_400_response("The request's head is too large.")
        if self._draining_since is None:
            return
        if now - self._draining_since >= self._config.drain_idle:
            for each in connections:
                if not (each.answering or each.head_begun or _has_unread(each.sock)):
                    each.shutdown()
        if self._closing:
            self._close_websockets(established=True)

    def drain(self, *, closing: bool) -> None:
        """Let every connection end as soon as it may; idempotent.  ``closing``: WebSockets too."""
        if self._draining_since is None:
            self._draining_since = self._loop.time()
            # in place: the requests in progress have this very list
            self._http.default_headers.append(CLOSE)
        for each in cast("list[HttpConnection]", list(self._http.connections)):
            if each.answering:
                each.shutdown()
        if closing:
            self._closing = True
            self._close_websockets(established=True)

    def resume(self) -> None:
        """Let connections stay again; one that was told to end does."""
        if self._draining_since is not None:
            self._draining_since = None
            self._http.default_headers.remove(CLOSE)

    def farewell(self) -> bool:
        """The drain's time is over: close what can be closed with a word; False if nothing."""
        waiting = bool(self._websockets.connections)
        self._close_websockets(established=False)
        return waiting

    async def cut(self) -> None:
        """End every connection and every call of the app, now."""
        self._front.cutting = True
        while self._open or self._attaching:
            for transport in list(self._open):
                cast("asyncio.Transport", transport).abort()
            await asyncio.sleep(0)  # until they have told their protocols
        tasks = list(self._http.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CUT)
        self._tally.flush()

    async def stop(self) -> None:
        """Let the app finish; the caller gives it so much time."""
        await self._lifespan.stop()

    # -- connections --------------------------------------------------------------------------

    async def _attach(self, sock: socket.socket) -> None:
        protocol = self._http_class(
            config=self._uvicorn,
            server_state=self._http,
            app_state=self._lifespan.state,
            _loop=self._loop,
        )
        protocol.sock = sock
        try:
            # O_NONBLOCK, which this sets, belongs to the master's copy too; it only closes that.
            await self._loop.connect_accepted_socket(lambda: protocol, sock)
        except OSError as error:
            logger.warning("a connection was lost before it was served: %s", error)
            if sock not in self._open.values():  # never made, so never to be lost
                sock.close()
                self._host.connection_ended()

    def _make_websocket(self, **kwargs: Any) -> asyncio.Protocol:  # noqa: ANN401 - uvicorn's own
        kwargs["server_state"] = self._websockets
        return self._ws_class(**kwargs)

    def made(self, transport: asyncio.BaseTransport, sock: socket.socket) -> None:
        """As in ``Keeper``."""
        self._open[transport] = sock

    def lost(self, transport: asyncio.BaseTransport) -> None:
        """As in ``Keeper``."""
        with suppress(OSError):
            # the master may still hold a copy: a close alone would send no FIN
            self._open.pop(transport).shutdown(socket.SHUT_WR)
        self._tally.flush()
        self._host.connection_ended()

    def _close_websockets(self, *, established: bool) -> None:
        for each in cast("list[WebSocketConnection]", list(self._websockets.connections)):
            if each.transport.is_closing() or (established and not _is_established(each)):
                continue
            try:
                each.shutdown()
            except Exception as error:  # noqa: BLE001 - one library's state; the others must end too
                logger.debug("a WebSocket can't be closed: %r", error)
                each.transport.abort()

    def _date(self) -> None:
        # In place, as in drain().  Of a WebSocket's handshake they are the headers too.
        second = int(time.time())
        if second != self._dated:
            self._dated = second
            date = (b"date", formatdate(second, usegmt=True).encode())
            self._http.default_headers[0:1] = [date]
            self._websockets.default_headers[0:1] = [date]


def _configure(app: AsgiApp, asgi: AsgiConfig, config: UvicornConfig) -> Config:
    _listen_to_uvicorn(debug=config.debug)
    uvicorn = Config(
        cast("Any", app),
        interface="asgi3",
        lifespan="off",  # ours
        log_config=None,
        access_log=False,
        proxy_headers=False,  # ours
        server_header=False,
        root_path=asgi.root_path,
        ws_max_size=asgi.websocket.max_size,
        ws_max_queue=asgi.websocket.max_queue,
        ws_ping_interval=asgi.websocket.ping_interval or None,  # 0: never
        ws_ping_timeout=asgi.websocket.ping_timeout or None,
        ws_per_message_deflate=asgi.websocket.per_message_deflate,
        timeout_keep_alive=cast("int", config.keep_alive),  # a delay for call_later
        h11_max_incomplete_event_size=config.max_head,
        # what it would look up in the environment
        workers=1,
        forwarded_allow_ips="",
    )
    try:
        uvicorn.load()
    except Exception as error:
        raise RunError(describe("uvicorn can't be set up", error)) from error
    return uvicorn


def _listen_to_uvicorn(*, debug: bool) -> None:
    """Its errors go where ours go, unless the app has said otherwise."""
    errors = logging.getLogger("uvicorn.error")
    if errors.level == logging.NOTSET:  # which for uvicorn means: trace everything
        errors.setLevel(logging.DEBUG if debug else logging.WARNING)
    if not errors.hasHandlers():
        for handler in logger.handlers:
            errors.addHandler(handler)


def _is_established(websocket: WebSocketConnection) -> bool:
    """Whether its handshake is over; the implementation on ``websockets.legacy`` has an event."""
    event = getattr(websocket, "handshake_completed_event", None)
    if event is not None:
        return bool(event.is_set())
    return bool(getattr(websocket, "handshake_complete", True))


def _has_unread(sock: socket.socket) -> bool:
    """Whether the client has sent something that nobody has read."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:  # EAGAIN: nothing; a reset: nothing any more
        return False
