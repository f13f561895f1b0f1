"""One HTTP request: uvicorn's cycle, which reads and writes, and our end of it.

uvicorn has a class for that, ``RequestResponseCycle``.  ``http_class`` gives it a subclass, whose
``run_asgi`` replaces uvicorn's: it calls the app, and says what becomes of a failure, as the trio
engine does (a 500 that names the request, or an end that can be seen).  ``send`` only looks.

This runs for each request, of whose 33 us the rest is uvicorn's, so it is written to cost little
(1.4 to 2 us, Python 3.11).  What that takes, by measurement:

* no coroutine and no closure of our own;
* slots.  An instance of a class without has room for some 30 attributes before Python gives it a
  dict, which makes every access slower, uvicorn's too; and an attribute that has a default in the
  class is looked up the slow way (2 us in all);
* counting in batches (``tally``).
"""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any, final

from balancer.apps.uvicorn.asked import ask
from balancer.apps.uvicorn.front import CLOSE
from balancer.apps.uvicorn.limit import TimedOut
from balancer.apps.uvicorn.watch import Seen
from balancer.core.forwarded import FOR, PROTO, STANDARD
from balancer.core.logrecord import ABORTED, CLOSED, KEPT, PlainAnswer
from balancer.core.logrecord import BATCH as LOG_BATCH
from balancer.http1.errors import RequestError
from balancer.http1.responses import plain_answer, status_line
from balancer.http1.tally import BATCH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from balancer.apps.asgi.types import Message, Receive, Scope
    from balancer.apps.uvicorn.front import Client, Front
    from balancer.apps.uvicorn.protocols import HttpConnection
    from balancer.http1.tally import Done

__all__ = ["Cycle", "FullyLoggedCycle", "LoggedCycle", "WatchedCycle", "cycle_class"]

logger = logging.getLogger("balancer")

LENGTH = b"content-length"
STATUSES = frozenset(range(100, 600))
SERVER_ERROR = RequestError(500, "the server failed to answer this request")
CLIENT_GONE = 499
"""Never sent: nginx's status for a client that left before its answer."""
new = tuple.__new__


class Cycle:
    """The mixin for uvicorn's cycle."""

    __slots__ = ("began", "bytes_in", "bytes_out", "client", "counted", "given_id", "status")

    front: Front
    done: list[Done]
    uvicorn_send: Callable[[Message], Awaitable[None]]
    began: float
    bytes_in: int
    """What was announced, which is what came once there is no ``more_body``."""
    bytes_out: int
    client: Client
    counted: bool
    given_id: str
    status: int
    # uvicorn's
    default_headers: list[tuple[bytes, bytes]]
    disconnected: bool
    more_body: bool
    on_response: Callable[[], None]
    receive: Receive
    response_complete: bool
    response_started: bool
    scope: Scope
    transport: asyncio.Transport

    async def run_asgi(self, app: HttpConnection) -> None:
        """Call the app; ``app`` is the connection, which uvicorn passes on from ``app`` there."""
        self.began = perf_counter()
        self.status = self.bytes_out = 0
        self.given_id = ""
        self.counted = False
        connection, front, scope = app, self.front, self.scope
        self.client = connection.client
        connection.running = self
        scope["extensions"] = connection.extensions
        fields = dict(scope["headers"])
        self.bytes_in = _number(fields[LENGTH]) if LENGTH in fields else 0
        if FOR in fields or PROTO in fields or STANDARD in fields:
            front.introduce(scope)
        connection.left -= 1
        if connection.left <= 0:
            # the slot is uvicorn's, and mypy doesn't see it
            self.default_headers = [*self.default_headers, CLOSE]  # type: ignore[misc]  # see above
        try:
            await front.app(scope, self.receive, self.send)
        except BaseException as error:  # noqa: BLE001 - logged there, with its traceback
            await self._failed(error)
        else:
            if not self.response_complete and not self.disconnected:
                await self._left_open()
        finally:
            self.on_response = _nothing  # it is the connection's, which has this cycle
            if not self.response_complete:
                self.broken_off()

    def send(self, message: Message) -> Awaitable[None]:
        """Note what an answer comes to, and pass it on."""
        if self.disconnected:  # nobody hears it
            return self.uvicorn_send(message)
        if message["type"] == "http.response.body":
            self.bytes_out += len(message.get("body", b""))
            if not (message.get("more_body", False) or self.counted):
                self.counted = True
                done = self.done
                seconds = perf_counter() - self.began
                received = 0 if self.more_body else self.bytes_in
                done.append((self.status, seconds, received, self.bytes_out))
                if len(done) >= BATCH:
                    self.front.tally.flush()
        elif not self.response_started and (status := message.get("status")) in STATUSES:
            self.status = status  # uvicorn refuses all others, and a second one
        return self.uvicorn_send(message)

    def broken_off(self) -> None:
        """The call is over, and its response was never complete."""
        if not self.counted:
            self.counted = True
            seconds = perf_counter() - self.began
            received = 0 if self.more_body else self.bytes_in
            self.front.tally.add(self.status, seconds, received, self.bytes_out)

    def request_id(self) -> str:
        """As ``Exchange.request_id``."""
        if not self.given_id:
            self.given_id = self.front.choose_id(self.scope["headers"], self.client)
        return self.given_id

    # -- how a call may end -------------------------------------------------------------------

    async def _failed(self, error: BaseException) -> None:
        if self.front.cutting and isinstance(error, asyncio.CancelledError):
            return
        if isinstance(error, TimedOut):
            self._complain("{} was cancelled " + str(error))
            await self._end(TimedOut.answer)
        else:
            self._complain("the handler failed on {}", error)
            await self._end(SERVER_ERROR)

    async def _left_open(self) -> None:
        if self.response_started:
            self._complain("the handler broke off its response to {}")
        else:
            self._complain("the handler gave no response to {}")
        await self._end(SERVER_ERROR)

    async def _end(self, error: RequestError) -> None:
        """Answer for the app, or let the client see that there is no more to come."""
        if self.response_started:
            if not self.response_complete:
                self.transport.close()
            return
        request_id = self.request_id()
        _, text = plain_answer(error, b"", request_id, "GET")
        headers = [
            (b"x-request-id", request_id.encode()),
            (b"content-type", b"text/plain"),
            (b"content-length", str(len(text)).encode()),
            CLOSE,
        ]
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": text})

    def _complain(self, what: str, error: BaseException | None = None) -> None:
        asked = ask(self.scope, self.front.root)
        request = f"{asked.method} {asked.target.decode('latin-1')}"
        logger.error("%s (request %s)", what.format(request), self.request_id(), exc_info=error)


class LoggedCycle(Cycle):
    """One that leaves a record for the access log."""

    __slots__ = ("_request", "_respond", "sent_head")

    def run_asgi(self, app: HttpConnection) -> Coroutine[Any, Any, None]:
        # now: frameworks write into the scope
        self._request = ask(self.scope, self.front.root)
        self.sent_head = b""
        self._respond = self.on_response
        self.on_response = self._responded
        return super().run_asgi(app)

    def _responded(self, end: str = "", status: int = 0) -> None:
        """The response is complete: uvicorn has written it, and decided on the connection."""
        log = self.front.access
        assert log is not None
        now = perf_counter()
        request = self._request
        size = self.bytes_out if request.method != "HEAD" else 0
        end = end or (CLOSED if self.transport.is_closing() else KEPT)
        # A PlainAnswer and a Record in all but the time that their constructors take.
        answer = new(PlainAnswer, (status or self.status, size, self.given_id, self.sent_head))
        records = log.records
        record = (request, answer, now - self.began, now, self.client, end)
        records.append(record)  # type: ignore[arg-type]  # see above
        if len(records) >= LOG_BATCH:
            log.flush()
        self._respond()

    def broken_off(self) -> None:
        super().broken_off()
        self._respond = _nothing
        self._responded(ABORTED, self.status or CLIENT_GONE)


@final
class FullyLoggedCycle(LoggedCycle):
    """One that also keeps the response's fields, where the format asks for some of them.

    Those that uvicorn adds by itself for the framing are not among them.
    """

    __slots__ = ()

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start" and not self.disconnected:
            fields = [*self.default_headers, *message.get("headers", ())]
            lines = [b"%b: %b\r\n" % (name, value) for name, value in fields]
            self.sent_head = b"".join([status_line(message["status"]), *lines, b"\r\n"])
        return super().send(message)


class WatchedCycle(Cycle):
    """One that somebody sees come and go."""

    __slots__ = ()

    async def run_asgi(self, app: HttpConnection) -> None:
        watcher, scope = self.front.watcher, self.scope
        assert watcher is not None
        watch = watcher.begin(Seen(ask(scope, self.front.root), app.client))
        try:
            await super().run_asgi(app)
        finally:
            watcher.end(watch, self.status)


def cycle_class(base: type, front: Front) -> type:
    """uvicorn's class with the mixins that a service needs."""
    mixins: list[type] = [] if front.watcher is None else [WatchedCycle]
    if front.access is None:
        mixins.append(Cycle)
    else:
        mixins.append(FullyLoggedCycle if front.access.wants_heads else LoggedCycle)
    own = {"front": front, "done": front.tally.done, "uvicorn_send": vars(base)["send"]}
    return type("RequestResponseCycle", (*mixins, base), own)


def _number(length: bytes) -> int:
    """A length that llhttp has found to be less than 2**64, behind any number of zeros.

    Python's ``int`` refuses more than 4300 digits.
    """
    return int(length.strip()[-20:])


def _nothing() -> None:
    """What uvicorn calls when a response is complete that nobody waits for."""
