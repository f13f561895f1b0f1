"""uvicorn's protocol classes, as far as this server has to see into them.

A connection is a transport whose protocol is first uvicorn's HTTP class, and after an upgrade its
WebSocket class; asyncio tells the last one, and only that, that the connection is lost.  Both
classes get a mixin that passes this on.  Beyond asyncio's protocol methods, this is what is used of
uvicorn, the same from 0.30 to 0.54 and for h11 and httptools:

* ``app``, which it gives to ``run_asgi`` of every request; ``scope``, of the head that is being
  read or was last; h11's connection, ``conn``, and httptools' ``url`` and ``headers`` so far;
  ``client``, the other end;
* ``cycle``, the request in progress or the last one, and what ``cycle.Cycle`` names of it; its
  class is the ``RequestResponseCycle`` of the protocol's module;
* ``shutdown()``: close if idle, else after the response (HTTP); close with 1012 (WebSocket);
* ``send_400_response(msg)``.

Our attributes are slots: see ``cycle`` for why.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version
from types import FunctionType
from typing import TYPE_CHECKING, Any, Protocol, cast

import h11

from balancer.apps.uvicorn.cycle import cycle_class
from balancer.apps.uvicorn.front import EXTENSION
from balancer.errors import RunError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from balancer.apps.uvicorn.cycle import Cycle
    from balancer.apps.uvicorn.front import Front

__all__ = ["HttpConnection", "Keeper", "WebSocketConnection", "http_class", "ws_class"]

CYCLE = "RequestResponseCycle"


class Keeper(Protocol):
    """Whoever keeps the connections."""

    def made(self, transport: asyncio.BaseTransport, sock: socket.socket) -> None:
        """A connection is being served."""

    def lost(self, transport: asyncio.BaseTransport) -> None:
        """A connection has ended; its socket is still open."""


class WebSocketConnection(Protocol):
    """What is used of uvicorn's WebSocket protocols."""

    transport: asyncio.Transport

    def shutdown(self) -> None: ...


class HttpConnection(asyncio.Protocol):
    """The mixin for uvicorn's HTTP protocol: ``cycle`` has its requests, and heads are awaited.

    Nothing is done for bytes that come, which they do for every request: whether a head has begun
    is looked up when somebody asks.
    """

    __slots__ = ("_head_since", "extensions", "left", "running", "sock")

    keeper: Keeper
    sock: socket.socket
    front: Front
    max_requests: int
    left: int
    """How many more requests it may bring."""
    running: Cycle
    """The request that the app has, or had last."""
    extensions: dict[str, dict[str, Any]]
    """Of its scopes; one for all of them, which is half a microsecond less."""
    # uvicorn's
    app: Any
    client: tuple[str, int] | None
    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    cycle: Any
    scope: Any
    headers: list[tuple[bytes, bytes]] | None
    shutdown: Callable[[], None]

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(**kwargs)
        self.left = self.max_requests
        self.app = self
        self.extensions = {EXTENSION: {"get": self._request_id}}
        self._head_since: float | None = None

    def _request_id(self) -> str:
        return self.running.request_id()

    @property
    def answering(self) -> bool:
        """Whether the app has a request that it hasn't answered in full."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def head_begun(self) -> bool:
        """Whether a part of a head has come."""
        cycle = self.cycle
        if self.scope is not (None if cycle is None else cycle.scope):  # httptools has begun one
            return True
        conn: h11.Connection | None = getattr(self, "conn", None)
        return conn is not None and conn.their_state is h11.IDLE and bool(conn.trailing_data[0])

    @property
    def head_size(self) -> int:
        """Bytes of the fields that have come of the head so far; h11 has a limit of its own."""
        return len(getattr(self, "url", b"")) + sum(len(a) + len(b) for a, b in self.headers or ())

    def head_age(self, now: float) -> float:
        """Seconds since a head was first seen to be waited for; 0.0: none is."""
        if self.answering or not (self.cycle is None or self.head_begun):
            self._head_since = None
            return 0.0
        if self._head_since is None:
            self._head_since = now
        return now - self._head_since

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.keeper.made(transport, self.sock)
        self._head_since = self.loop.time()
        super().connection_made(transport)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request."""
        self.front.refused(self.client, len(msg))
        super().send_400_response(msg)  # type: ignore[misc]  # the base is known at run time only

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            super().connection_lost(exc)
        finally:
            self.keeper.lost(self.transport)


class _WebSocketMixin(asyncio.Protocol):
    keeper: Keeper
    transport: asyncio.Transport

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            super().connection_lost(exc)
        finally:
            self.keeper.lost(self.transport)


def http_class(
    base: type[asyncio.Protocol], keeper: Keeper, front: Front, *, max_requests: int
) -> type[HttpConnection]:
    """uvicorn's HTTP class with the mixin, and with our class for its requests.

    Raises:
        RunError: this uvicorn makes its requests in another way.
    """
    own = {"keeper": keeper, "front": front, "max_requests": max_requests}
    own |= _with_cycles(base, front)
    return cast("type[HttpConnection]", type("HttpConnection", (HttpConnection, base), own))


def _with_cycles(base: type, front: Front) -> dict[str, Any]:
    """The methods of uvicorn's class that make a cycle, where its name means our class.

    Not by setting that name in uvicorn's module: an app may run a uvicorn of its own in here.
    """
    methods = {
        name: each
        for name, each in vars(base).items()
        if isinstance(each, FunctionType) and CYCLE in each.__code__.co_names
    }
    if not methods:
        raise RunError(f"uvicorn {version('uvicorn')} is not known to --engine uvicorn")
    cycle = cycle_class(vars(sys.modules[base.__module__])[CYCLE], front)
    return {name: _rebind(each, CYCLE, cycle) for name, each in methods.items()}


def _rebind(function: FunctionType, name: str, value: object) -> FunctionType:
    """The same function, to whom a global name means something else."""
    known = {**function.__globals__, name: value}
    bound = FunctionType(
        function.__code__, known, function.__name__, function.__defaults__, function.__closure__
    )
    bound.__kwdefaults__ = function.__kwdefaults__
    return bound


def ws_class(base: type[asyncio.Protocol], keeper: Keeper) -> type[asyncio.Protocol]:
    """uvicorn's WebSocket class with its mixin."""
    return type("WebSocketConnection", (_WebSocketMixin, base), {"keeper": keeper})
