"""One HTTP request's conversation with an ASGI app (ASGI HTTP 2.3, and what 2.4 says of ``send``).

What an app may send follows from ``Stage``; anything else raises ``MisuseError`` in the app, before
it could corrupt the wire.  A response that comes as ``start`` and one ``body`` leaves in one piece.

A request whose body is malformed, too large or stalled ends the conversation: the app hears
``http.disconnect``, what it sends raises ``ClientGone`` (an OSError), and the client gets the
status that the engine has for it.
"""

from __future__ import annotations

import os
from enum import Enum
from typing import TYPE_CHECKING, Any, final

import trio

from balancer.http1.errors import ClientGone, MisuseError, RequestError
from balancer.http1.exchange import ONE_SEND
from balancer.http1.responses import read_fields

if TYPE_CHECKING:
    from balancer.apps.asgi.types import Message
    from balancer.http1.exchange import Exchange
    from balancer.http1.responses import ResponseHead

__all__ = ["HttpCycle"]

FILE_PIECE = 256 * 1024
TURNS = 8
"""Messages of a body that may be sent without giving way: a checkpoint is 4 us, of some 25 that a
message of 64 KiB takes."""


class Stage(Enum):
    """What the app may send next."""

    START = "http.response.start"
    BODY = "http.response.body, the first"
    MORE = "http.response.body"
    TRAILERS = "http.response.trailers"
    COMPLETE = "nothing more"


# read for every message, and an Enum member is a slow attribute
START, BODY, MORE = Stage.START, Stage.BODY, Stage.MORE
TRAILERS, COMPLETE = Stage.TRAILERS, Stage.COMPLETE


@final
class HttpCycle:
    """The app's ``receive`` and ``send`` for one exchange."""

    # Most conversations never touch most of these, so they begin with the class's values: a cycle
    # is made for every request.
    _stage: Stage = START
    _unread = True
    """The app has not been given the end of the body."""
    _gone = False
    _status = 0
    _head: ResponseHead
    _trailers: list[tuple[bytes, bytes]] | None = None
    """What has come of the trailers, where the app announced some."""
    _unyielded = 0
    _waiting: trio.CancelScope | None = None
    _listening: trio.Lock | None = None
    failure: RequestError | None = None
    """What was wrong with the body, for the engine to answer."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @property
    def gone(self) -> bool:
        """Whether the app was told that the client is gone, or could see it."""
        return self._gone

    def close(self) -> None:
        """The app has returned: who still waits hears that it is over."""
        self._stage = COMPLETE
        if self._waiting is not None:
            self._waiting.cancel()

    # -- receive ------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """``http.request`` until the body has ended, then ``http.disconnect`` when that is."""
        if self._unread and not self._gone and self._stage is not COMPLETE:
            exchange = self._exchange
            try:
                data = await exchange.read()
            except ClientGone:
                self._gone = True
            except RequestError as error:
                self._gone = True
                self.failure = error
            else:
                self._unread = more = not exchange.body_read
                return {"type": "http.request", "body": data, "more_body": more}
        await self._disconnected()
        return {"type": "http.disconnect"}

    async def _disconnected(self) -> None:
        """Wait until the client has gone or the response is complete."""
        if self._listening is None:
            self._listening = trio.Lock()
        async with self._listening:  # only one task may wait for the socket
            if self._gone or self._stage is COMPLETE:
                return
            with trio.CancelScope() as self._waiting:
                await self._exchange.wait_gone()
                self._gone = True
            self._waiting = None

    # -- send ---------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Take the app's next message.

        Raises:
            MisuseError: it isn't one that may come now, or is malformed.
            ClientGone: the client has left, or its request was refused meanwhile.
        """
        kind = message["type"]
        stage = self._stage
        if self._gone and stage is not COMPLETE:
            raise ClientGone("the client has gone")
        if kind == "http.response.start" and stage is START:
            self._start(message)
        elif kind == "http.response.body" and (stage is BODY or stage is MORE):
            body = message.get("body", b"")
            if type(body) is not bytes:
                body = _as_bytes(body)
            more = message.get("more_body", False)
            if more or stage is MORE or self._trailers is not None or len(body) > ONE_SEND:
                await self._send_body(body, more)
            else:
                # what nearly all responses are: no coroutine but this one
                try:
                    rest = self._exchange.respond_nowait(self._status, self._head, body)
                except ClientGone:
                    self._gone = True
                    raise
                if rest is not None:
                    await self._act(self._exchange.send_rest(rest))
                self._complete()
        elif kind == "http.response.pathsend" and stage is BODY:
            await self._send_file(message)
        elif kind == "http.response.trailers" and stage is TRAILERS:
            await self._send_trailers(message)
        else:
            raise MisuseError(f"{kind} was sent where {stage.value} was due")

    def _start(self, message: Message) -> None:
        status = message["status"]
        if not isinstance(status, int) or not 200 <= status <= 599:
            raise MisuseError(f"{status!r} is no status of a response")
        self._head = read_fields(message.get("headers", ()))
        self._status = int(status)
        if message.get("trailers"):
            self._trailers = []
        self._stage = BODY

    async def _send_body(self, body: bytes, more: bool) -> None:
        if self._stage is BODY:
            if not more and self._trailers is None:
                await self._act(self._exchange.respond(self._status, self._head, body))
                self._complete()
                return
            await self._exchange.start(self._status, self._head)
            self._stage = MORE
        await self._write(body)
        if more:
            self._unyielded += 1
            if self._unyielded == TURNS:
                # An app that sends for ever to a client that always reads must not starve others.
                self._unyielded = 0
                await trio.lowlevel.checkpoint()
        elif self._trailers is not None:
            self._stage = TRAILERS
        else:
            await self._act(self._exchange.finish())
            self._complete()

    async def _write(self, body: bytes) -> None:
        if self._exchange.method == "HEAD":  # counted by nobody, and not for the wire
            body = b""
        await self._act(self._exchange.write(body))

    async def _send_trailers(self, message: Message) -> None:
        assert self._trailers is not None
        self._trailers += [(name, value) for name, value in message.get("headers", ())]
        if not message.get("more_trailers", False):
            await self._act(self._exchange.finish(self._trailers))
            self._complete()

    async def _send_file(self, message: Message) -> None:
        """The ``http.response.pathsend`` extension: the body is a file."""
        path = message["path"]
        try:
            file = await trio.open_file(path, "rb", buffering=0)
        except OSError as error:
            raise MisuseError(f"pathsend {path!r}: {error.strerror}") from error
        async with file:
            head = self._head
            if head.length is None:
                # an app leaves the length to whoever opens the file
                size = os.fstat(file.fileno()).st_size
                head = head.with_length(size)
            await self._exchange.start(self._status, head)
            self._stage = MORE
            await self._write(b"")
            if self._exchange.method != "HEAD":
                while piece := await file.read(FILE_PIECE):
                    await self._act(self._exchange.write(piece))
        await self._act(self._exchange.finish())
        self._complete()

    async def _act(self, action: Any) -> None:  # noqa: ANN401 - a coroutine of the exchange
        try:
            await action
        except ClientGone:
            self._gone = True
            raise

    def _complete(self) -> None:
        self._stage = COMPLETE
        if self._waiting is not None:  # receive() in another task of the app
            self._waiting.cancel()


def _as_bytes(body: object) -> bytes:
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    raise MisuseError(f"the body of a message is bytes, not a {type(body).__name__}")
