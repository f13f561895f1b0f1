"""One WebSocket as its ASGI app sees it (ASGI WebSocket 2.4, and the denial response extension).

What an app may send follows from ``Stage``; anything else raises ``MisuseError`` in the app, before
it could corrupt the wire.  Before the handshake is answered the connection is HTTP and belongs to
the exchange; ``websocket.accept`` makes a ``Wire`` of it.

After the end, whoever brought it about, sending raises ``ClientGone`` (an OSError).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, final

import trio

from balancer.apps.asgi.http import HttpCycle
from balancer.apps.asgi.websocket.messages import (
    disconnect,
    read_accept,
    read_close,
    read_send,
)
from balancer.apps.asgi.websocket.registry import SERVICE_RESTART
from balancer.apps.asgi.websocket.session import Session
from balancer.apps.asgi.websocket.wire import Wire
from balancer.http1.errors import ClientGone, MisuseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.apps.asgi.types import AsgiApp, Message, Scope
    from balancer.apps.asgi.websocket.handshake import Handshake
    from balancer.apps.asgi.websocket.registry import WebSockets
    from balancer.http1.exchange import Exchange

__all__ = ["WebSocketCycle", "converse"]

REFUSAL = ((b"content-type", b"text/plain"),)
REFUSED = b"403 Forbidden: the app refuses this WebSocket\n"


class Stage(Enum):
    """What the app may send next."""

    CONNECTING = "websocket.accept, websocket.close or websocket.http.response.start"
    ACCEPTING = "nothing until websocket.accept is done"
    OPEN = "websocket.send or websocket.close"
    REFUSING = "websocket.http.response.body"
    OVER = "nothing more"


CONNECTING, ACCEPTING, OPEN = Stage.CONNECTING, Stage.ACCEPTING, Stage.OPEN
REFUSING, OVER = Stage.REFUSING, Stage.OVER
MESSAGES = frozenset({
    "websocket.accept", "websocket.close", "websocket.send", "websocket.http.response.start",
    "websocket.http.response.body",
})  # fmt: skip


@final
class WebSocketCycle:
    """The app's ``receive`` and ``send`` for one WebSocket."""

    __slots__ = (
        "_exchange",
        "_gone",
        "_greeted",
        "_handshake",
        "_nursery",
        "_offered",
        "_refusal",
        "_stage",
        "_waiting",
        "_watching",
        "_websockets",
        "_wire",
    )

    def __init__(
        self,
        exchange: Exchange,
        handshake: Handshake,
        offered: tuple[str, ...],
        websockets: WebSockets,
    ) -> None:
        self._exchange = exchange
        self._handshake = handshake
        self._offered = offered
        self._websockets = websockets
        self._nursery: trio.Nursery
        self._stage = CONNECTING
        self._greeted = False
        self._gone = False
        self._wire: Wire | None = None
        self._refusal: HttpCycle | None = None
        self._waiting: trio.CancelScope | None = None
        self._watching = trio.Lock()  # only one task may wait for the socket

    def run_in(self, nursery: trio.Nursery) -> None:
        """Where the tasks of an accepted WebSocket run; to be said first."""
        self._nursery = nursery

    @property
    def accepted(self) -> bool:
        """Whether it became a WebSocket."""
        return self._wire is not None

    @property
    def gone(self) -> bool:
        """Whether the app was told that the client is gone, or could see it."""
        return self._gone or (self._wire is not None and self._wire.over)

    # -- receive ------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """``websocket.connect``, then messages, then ``websocket.disconnect`` for ever."""
        if not self._greeted:
            self._greeted = True
            return {"type": "websocket.connect"}
        while self._wire is None:
            if self._stage is OVER:
                await trio.lowlevel.checkpoint()
                return disconnect(1006)
            await self._unanswered()
        return await self._wire.receive()

    async def _unanswered(self) -> None:
        """Wait until the handshake has been answered or the client has gone."""
        async with self._watching:
            if self._stage is CONNECTING or self._stage is REFUSING:
                with trio.CancelScope() as self._waiting:
                    await self._exchange.wait_gone()
                    self._gone = True
                    self._stage = OVER
                self._waiting = None

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    # -- send ---------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Take the app's next message.

        Raises:
            MisuseError: it isn't one that may come now, or is malformed.
            ClientGone: the WebSocket has ended.
        """
        kind = message["type"]
        stage = self._stage
        wire = self._wire
        if wire is not None and stage is OPEN and kind == "websocket.send":
            await wire.send(read_send(message))
        elif wire is not None and stage is OPEN and kind == "websocket.close":
            await wire.close(*read_close(message))
        elif stage is CONNECTING and kind == "websocket.accept":
            await self._accept(message)
        elif stage is CONNECTING and kind == "websocket.close":
            read_close(message)
            await self._refuse()
        elif stage is CONNECTING and kind == "websocket.http.response.start":
            await self._start_response(message)
        elif stage is REFUSING and kind == "websocket.http.response.body":
            await self._send_body(message)
        elif stage is OVER and kind in MESSAGES:
            raise ClientGone("the WebSocket is closed")
        else:
            raise MisuseError(f"{kind} was sent where {stage.value} was due")

    async def _accept(self, message: Message) -> None:
        subprotocol, fields = read_accept(message, self._offered)
        fields = self._handshake.fields(subprotocol) + fields
        self._stage = ACCEPTING
        self._stop_waiting()
        try:
            async with self._watching:  # who watched has left the socket now
                tunnel = await self._exchange.upgrade(fields)
        except MisuseError:  # a malformed field; nothing was sent
            self._stage = CONNECTING
            raise
        except BaseException:  # gone, or half of the 101 was sent
            self._end(gone=True)
            raise
        websockets = self._websockets
        session = Session(websockets.config, self._handshake.deflate, websockets.now)
        self._wire = Wire(
            self._exchange, tunnel.transport, session, websockets.config, self._nursery, websockets
        )
        self._stage = OPEN
        self._nursery.start_soon(self._wire.read, tunnel.buffered)
        websockets.add(self._wire)

    async def _refuse(self) -> None:
        self._end()
        await self._exchange.respond(403, REFUSAL, REFUSED)

    async def _start_response(self, message: Message) -> None:
        refusal = HttpCycle(self._exchange)
        await refusal.send(
            {
                "type": "http.response.start",
                "status": message["status"],
                "headers": message.get("headers", ()),
            }
        )
        self._refusal = refusal
        self._stage = REFUSING

    async def _send_body(self, message: Message) -> None:
        assert self._refusal is not None
        body, more = message.get("body", b""), message.get("more_body", False)
        try:
            await self._refusal.send(
                {"type": "http.response.body", "body": body, "more_body": more}
            )
        except ClientGone:
            self._end(gone=True)
            raise
        if not more:
            self._end()

    def _end(self, *, gone: bool = False) -> None:
        self._gone = self._gone or gone
        self._stage = OVER
        self._stop_waiting()

    # -- the app's end ------------------------------------------------------------------------

    def app_ended(self, *, failed: bool) -> None:
        """The app has returned or raised: close what it left open."""
        if self._wire is not None:
            self._wire.close_nowait(1011 if failed else 1000)
        self._stage = OVER
        self._stop_waiting()

    def cut(self) -> None:
        """We are cancelled, for the server can wait no longer."""
        self._stage = OVER
        if self._wire is not None:
            self._websockets.discard(self._wire)
            self._wire.cut(SERVICE_RESTART, "service restart")

    def close(self) -> None:
        """It is all over; nothing waits any more."""
        if self._wire is not None:
            self._websockets.discard(self._wire)
            self._exchange.count(self._wire.bytes_in, self._wire.bytes_out)


async def converse(
    app: AsgiApp,
    scope: Scope,
    cycle: WebSocketCycle,
    judge: Callable[[Exception], Exception | None],
) -> None:
    """Run the app for one WebSocket, to the end of both.

    ``judge`` gets what the app raised, at once, and says what is to be raised here in the end;
    not from inside of the nursery, which would make a group of it.
    """
    verdict: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            cycle.run_in(nursery)
            try:
                await app(scope, cycle.receive, cycle.send)
            except Exception as error:  # noqa: BLE001 - judged
                verdict = judge(error)
                cycle.app_ended(failed=True)
            except BaseException:  # cancelled
                cycle.cut()
                raise
            else:
                cycle.app_ended(failed=False)
    finally:
        cycle.close()
    if verdict is not None:
        raise verdict
