"""One request between its thread, where the app runs, and the event loop, where its client is.

The thread writes down what is to be done, in order: *orders*.  The loop's task of the connection
carries them out.  A thread waits only for what it needs: pieces of the request's body, and, when
``WINDOW`` bytes of the response are under way, for the client to take some of them.  A small
response is one order, and its thread is free before the client has it.

When the loop's side ends, because the response is complete, the client has gone, or time is up, the
call is *over*: what the thread still orders raises ``ClientGone`` in it.  The thread itself goes on
for as long as the app likes; nothing can stop it.
"""

from __future__ import annotations

import types
from collections import deque
from enum import Enum
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, final

import trio

from balancer.http1.errors import ClientGone, RequestError
from balancer.http1.phase import Phase

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

    from balancer.apps.wsgi.mailbox import Mailbox
    from balancer.apps.wsgi.parking import Parking
    from balancer.http1.exchange import Exchange
    from balancer.http1.responses import ResponseHead

__all__ = ["Call"]

WINDOW = 65536
"""Bytes that an app may be ahead of its client."""
SERVER_ERROR = RequestError(500, "the server failed to answer this request")
DONE = Phase.DONE


class _Whole(NamedTuple):
    """A whole response."""

    status: int
    head: ResponseHead
    body: bytes


class _Begin(NamedTuple):
    """The head of one that comes in pieces."""

    status: int
    head: ResponseHead


class _End(Enum):
    FINISH = "the response is complete"
    FAIL = "the app failed"


# bytes are a piece of the response; a number asks for so much of the request's body
_Order = _Whole | _Begin | bytes | int | _End


@final
class Call:
    """A request that a thread works on."""

    __slots__ = (
        "_answers",
        "_exchange",
        "_mailbox",
        "_orders",
        "_parking",
        "_task",
        "_under_way",
        "over",
        "started",
    )

    is_park = True  # it is what its connection yields, see ``Parking``

    def __init__(
        self, exchange: Exchange, mailbox: Mailbox, parking: Parking | None = None
    ) -> None:
        self._exchange = exchange
        self._mailbox = mailbox
        self._parking = parking
        self._orders: deque[_Order] = deque()
        # to the thread: bytes sent, a piece of the body and whether it is the last, or: it is over
        self._answers: SimpleQueue[int | tuple[bytes, bool] | None] = SimpleQueue()
        self._under_way = 0
        self._task: trio.lowlevel.Task | None = None
        self.started = False
        """A thread has begun with it."""
        self.over = False
        """Nobody carries out orders any more."""

    # -- in the thread ------------------------------------------------------------------------

    @property
    def request_id(self) -> str:
        """The request's id; from any thread."""
        return self._exchange.request_id

    def start(self) -> bool:
        """A thread begins with it; False: its client has gone, or lost patience, meanwhile."""
        self.started = True
        return not self.over

    def fetch(self, missing: int) -> tuple[bytes, bool]:
        """As in ``Fetch``; ClientGone: there is no more, and it isn't complete."""
        self._order(missing)
        while isinstance(answer := self._answer(), int):
            self._under_way -= answer
        return answer

    def respond(self, status: int, head: ResponseHead, body: bytes) -> None:
        """Send a whole response."""
        self._order(_Whole(status, head, body))

    def begin(self, status: int, head: ResponseHead) -> None:
        """Begin a response that comes in pieces."""
        self._order(_Begin(status, head))

    def send(self, data: bytes) -> None:
        """Send a piece; waits while too much is under way.  ClientGone: nobody takes it."""
        while self._under_way >= WINDOW:
            answer = self._answer()
            assert isinstance(answer, int)  # nobody fetches meanwhile
            self._under_way -= answer
        self._under_way += len(data)
        self._order(data)

    def finish(self) -> None:
        """The response is complete."""
        self._order(_End.FINISH)

    def fail(self) -> None:
        """The app has failed: the client gets a 500, or sees that the response is cut."""
        self._order(_End.FAIL)

    def _order(self, order: _Order) -> None:
        if self.over:
            raise ClientGone("the client has gone, or its request was ended")
        self._orders.append(order)
        self._mailbox.post(self._wake)

    def _answer(self) -> int | tuple[bytes, bool]:
        answer = self._answers.get()
        if answer is None:
            self._answers.put(None)  # also for who asks again: some apps go on after an OSError
            raise ClientGone("the client has gone, or its request was ended")
        return answer

    # -- in the loop --------------------------------------------------------------------------

    async def serve(self) -> None:
        """Carry out the orders, until the response is complete.

        Raises:
            RequestError: the app failed (500), or the request's body is to blame.
            ClientGone: the client has left.
        """
        exchange = self._exchange
        orders = self._orders
        try:
            while exchange.phase is not DONE:
                if orders:
                    await self._carry_out(orders.popleft())
                elif self._parking is not None and self._parking.has_room:
                    await self._park()
                else:
                    self._task = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(self._forget)
        finally:
            self.over = True
            self._answers.put(None)  # who waits for an answer now would wait for ever

    async def _carry_out(self, order: _Order) -> None:
        exchange = self._exchange
        if isinstance(order, _Whole):
            await exchange.respond(order.status, order.head, order.body)
        elif isinstance(order, bytes):
            await self._write(order)
        elif isinstance(order, int):
            self._answers.put((await self._read(order), exchange.body_read))
        elif isinstance(order, _Begin):
            await exchange.start(order.status, order.head)
        elif order is _End.FINISH:
            await exchange.finish()
        else:
            raise SERVER_ERROR

    async def _read(self, missing: int) -> bytes:
        exchange = self._exchange
        piece = await exchange.read()
        missing -= len(piece)
        if missing <= 0 or exchange.body_read:
            return piece
        pieces = [piece]
        while missing > 0 and (piece := await exchange.read()):
            pieces.append(piece)
            missing -= len(piece)
            await trio.lowlevel.checkpoint()  # a fast client: the others wait
        return b"".join(pieces)

    async def _write(self, data: bytes) -> None:
        orders = self._orders
        if orders and type(orders[0]) is bytes:  # small pieces that came faster than they leave
            pieces = [data]
            while orders and type(orders[0]) is bytes:
                pieces.append(orders.popleft())  # type: ignore[arg-type]  # it was looked at
            data = b"".join(pieces)
        await self._exchange.write(data)
        self._answers.put(len(data))
        if orders and type(orders[0]) is bytes:
            await trio.lowlevel.checkpoint()  # an app and a client that are fast: the others wait

    @types.coroutine
    def _park(self) -> Generator[Any, Any, None]:
        yield self

    def keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """As in ``Park``."""
        assert self._parking is not None
        self._parking.keep(self, coroutine)

    def _wake(self) -> None:
        if self._parking is not None and self._parking.wake(self):
            return
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _forget(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
