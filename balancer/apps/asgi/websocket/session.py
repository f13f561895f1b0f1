"""The conversation behind the handshake: bytes and times in, the app's messages and bytes out.

wsproto reads and writes the frames; here is decided what they mean (RFC 6455 5.4 to 5.5, 7)::

    state       their Close         our Close   they break the rules    the connection ends
    OPEN        CLOSED, answered    CLOSING     DEAF, after a Close     CLOSED
    CLOSING     CLOSED                          DEAF                    CLOSED
    DEAF                                                                CLOSED

``over`` is what the app hears of the end: it is set by whatever comes first, and from then on
nothing more passes from the client to the app or back.

Output that answers or asks something of the client (pong, ping, Close) is kept until the shell
takes it, and can't grow: of several pings only the last is answered (5.5.3).

Keep-alive: a client that said nothing at all between a ping and its timeout is gone.  Anything
counts, not only the pong, which can't come in the middle of a frame that takes long.
"""

from __future__ import annotations

import io
import math
from enum import Enum
from typing import TYPE_CHECKING, final

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from balancer.apps.asgi.websocket.messages import disconnect
from balancer.apps.asgi.websocket.payload import Payload

if TYPE_CHECKING:
    from wsproto.events import Event

    from balancer.apps.asgi.types import Message
    from balancer.apps.asgi.websocket.config import WebSocketConfig
    from balancer.apps.asgi.websocket.payload import Deflate

__all__ = ["Session", "State"]


class State(Enum):
    """How far a conversation is."""

    OPEN = "messages go both ways"
    CLOSING = "we have said Close, and wait for theirs"
    DEAF = "we have refused to read on; what comes is discarded up to their end"
    CLOSED = "both have said Close, or the connection is lost"


# read for every message, and an Enum member is a slow attribute
OPEN, CLOSING, DEAF, CLOSED = State.OPEN, State.CLOSING, State.DEAF, State.CLOSED


@final
class Session:
    """One WebSocket after its handshake.  Times are seconds of any clock."""

    __slots__ = (
        "_config",
        "_heard",
        "_now",
        "_out",
        "_payload",
        "_ping_at",
        "_pong",
        "_pong_by",
        "_unfinished",
        "_wire",
        "deadline",
        "over",
        "state",
    )

    def __init__(self, config: WebSocketConfig, deflate: Deflate | None, now: float) -> None:
        self._config = config
        self._payload = Payload(config.max_size, deflate)
        self._wire = Connection(ConnectionType.SERVER, [self._payload])
        self._now = now
        self._out = b""
        self._pong: bytes | None = None
        """The payload of the ping that is to be answered."""
        self._unfinished: io.StringIO | io.BytesIO | None = None
        """The fragments of a message.  Not a list: an object for each would make a message of
        one-byte fragments fifty times as large in memory as it is."""
        self._heard = True
        self._ping_at = now + config.ping_interval if config.ping_interval else math.inf
        self._pong_by = math.inf
        self.state = OPEN
        self.over: Message | None = None
        """The app's ``websocket.disconnect``, once there is one."""
        self.deadline = self._ping_at
        """When ``tick`` has something to do."""

    # from the client

    def feed(self, data: bytes, now: float) -> None:
        """Bytes have come."""
        self._now = now
        self._heard = True
        if self.state is OPEN or self.state is CLOSING:
            self._wire.receive_data(data)

    def next_message(self) -> Message | None:
        """The next ``websocket.receive`` out of what was fed; None: that takes more bytes.

        Nothing is read that nobody has asked for, so who stops asking stops the client.
        """
        if self.state is DEAF or self.state is CLOSED:
            return None
        for event in self._wire.events():
            if isinstance(event, TextMessage | BytesMessage):
                message = self._assemble(event)
                if message is not None and self.state is OPEN:
                    return message
            else:
                self._control(event)
        return None

    def _assemble(self, event: TextMessage | BytesMessage) -> Message | None:
        data: str | bytes | bytearray = event.data
        unfinished = self._unfinished
        if unfinished is not None or not event.message_finished:
            if unfinished is None:
                text = isinstance(data, str)
                # "": StringIO would otherwise translate line ends
                unfinished = io.StringIO(newline="") if text else io.BytesIO()
                self._unfinished = unfinished
            unfinished.write(data)  # type: ignore[arg-type] # of one type in one message
            if not event.message_finished:
                return None
            data = unfinished.getvalue()
            self._unfinished = None
        if isinstance(data, str):
            return {"type": "websocket.receive", "text": data, "bytes": None}
        return {"type": "websocket.receive", "text": None, "bytes": bytes(data)}

    def _control(self, event: Event) -> None:
        if isinstance(event, Ping):
            self._pong = bytes(event.payload)
        elif isinstance(event, CloseConnection):
            self._closed(event)

    def _closed(self, event: CloseConnection) -> None:
        """They have said Close, or wsproto has refused to read on: its state tells."""
        code, reason = int(event.code), event.reason or ""
        state = self._wire.state
        if state is ConnectionState.REMOTE_CLOSING:
            self._end(disconnect(code, reason), CLOSED)
            self._out += self._wire.send(event.response())
        elif state is ConnectionState.CLOSED:
            self.state, self.deadline = CLOSED, math.inf
        else:
            self._fail(code, self._payload.problem or reason)

    def lost(self) -> None:
        """The connection has ended, or is given up."""
        self._end(disconnect(CloseReason.ABNORMAL_CLOSURE), CLOSED)

    # to the client

    def frame(self, payload: str | bytes) -> bytes:
        """The app's message, for the wire; only while nothing is ``over``."""
        if isinstance(payload, str):
            return self._wire.send(TextMessage(payload))
        return self._wire.send(BytesMessage(payload))

    def close(self, code: int, reason: str, now: float) -> None:
        """Say Close, for the app or the server; the second time is one too many, and nothing."""
        self._now = now
        if self.state is OPEN:
            self._out += self._wire.send(CloseConnection(code, reason or None))
            self._end(disconnect(code, reason), CLOSING)

    def take_output(self) -> bytes:
        """What is to be sent now, beside the app's messages."""
        if self._pong is not None:
            if self.state is OPEN:
                self._out += self._wire.send(Pong(self._pong))
            self._pong = None
        out, self._out = self._out, b""
        return out

    # time

    def tick(self, now: float, *, busy: bool) -> None:
        """The deadline may have passed.

        ``busy``: we don't read at the moment, or what was sent has not left yet.  Then a ping
        would ask nothing of the client, and its silence says nothing.
        """
        self._now = now
        if now < self.deadline:
            return
        if self.state is not OPEN:
            self.lost()  # the Close was not answered in time
        elif busy:
            self._keep_alive(now + self._config.ping_interval, math.inf)
        elif now >= self._pong_by and not self._heard:
            self._give_up()
        elif now >= self._ping_at:
            self._ask()
        else:
            self._keep_alive(self._ping_at, math.inf)

    def _ask(self) -> None:
        self._heard = False
        self._out += self._wire.send(Ping())
        timeout = self._config.ping_timeout or math.inf
        self._keep_alive(self._now + self._config.ping_interval, self._now + timeout)

    def _keep_alive(self, ping_at: float, pong_by: float) -> None:
        self._ping_at, self._pong_by = ping_at, pong_by
        self.deadline = min(ping_at, pong_by)

    def _give_up(self) -> None:
        """To the client, in case it is there, we say what was wrong; to the app it is lost."""
        reason = "no answer to a ping"
        self._end(disconnect(CloseReason.ABNORMAL_CLOSURE, reason), DEAF)
        self._out += self._wire.send(CloseConnection(CloseReason.INTERNAL_ERROR, reason))

    # the end

    def _fail(self, code: int, reason: str) -> None:
        """Refuse to read on (RFC 6455 7.1.7)."""
        if self.state is OPEN:
            self._out += self._wire.send(CloseConnection(code, reason))
        self._end(disconnect(code, reason), DEAF)

    def _end(self, message: Message, state: State) -> None:
        if self.over is None:
            self.over = message
        if self.state is OPEN and state is not CLOSED:
            self.deadline = self._now + self._config.close_timeout
        if state is CLOSED:
            self.deadline = math.inf
        self.state = state
        self._unfinished = None
