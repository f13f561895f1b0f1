"""``--admin ADDRESS``: health checks, answered by the master whatever its workers do.

    /healthz   200 while the master lives and moves connections (liveness: restart it if not)
    /readyz    200 while it should get clients: not when it is stopping, when no worker is ready,
               or when no upstream is (readiness: send clients elsewhere)

A stopping server goes on answering to its end, ``/healthz`` with 200 and ``/readyz`` with 503: with
``--drain-delay`` that is the time in which load balancers learn that it leaves.

Plain HTTP/1.1, by h11, because nothing here has to be fast: at most ``MAX_CLIENTS`` at a time, the
others wait in the kernel's backlog; one request for each connection, ``PATIENCE`` seconds for
everything.  A client can't hold up the master, nor fill its memory.

Source: the names are those of Kubernetes' own components.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, final

import h11
import msgspec
import trio

from balancer.net.identity import access_of
from balancer.net.listener import accept_batch
from balancer.net.opening import open_listeners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balancer.master.vitals import Watched
    from balancer.net.listener import Listener
    from balancer.settings import Settings

__all__ = ["Admin", "Answer", "Health"]

MAX_CLIENTS = 16
BACKLOG = 64
PATIENCE = 5.0
"""Seconds for a request and its response."""
LINGER = 1.0
"""Seconds in which what a client still sends is read and thrown away: closing earlier would reset
the connection, perhaps before the client has read its answer."""
STUCK = 1.0
"""Seconds without a turn of the dispatch loop after which the master is not well."""
PAUSE = 0.1
MAX_HEAD = 8192
MAX_DISCARDED = 64 * 1024
RECEIVE = 4096


class Answer(msgspec.Struct, frozen=True):
    """The body of every answer: ``status`` is ok, unavailable or error, ``reason`` why."""

    status: str
    reason: str | None = None


class Health(Answer, frozen=True, kw_only=True):
    """That of a health check: how many workers there are to be, and how many are ready."""

    state: str
    workers: int
    ready: int
    queued: int
    uptime_s: float


@final
class Admin:
    """The listeners of ``--admin``, which it owns, and who answers there; without it, nobody.

    Args:
        settings: Where to listen.
        listeners: Of a predecessor, to be used instead; they are this object's from now on.

    Raises:
        RunError: an address can't be bound.
    """

    def __init__(self, settings: Settings, listeners: Sequence[Listener] | None = None) -> None:
        if listeners is None and settings.admin is not None:
            where = settings.where("admin")
            listeners = open_listeners(
                (settings.admin,), backlog=BACKLOG, where=where, access=access_of(settings)
            )
        self.listeners = list(listeners or ())
        self._scope = trio.CancelScope()
        self._running = False

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as a user would type it into a client."""
        return [listener.address for listener in self.listeners]

    async def run(
        self, watch: Watched, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Answer until closed, or cancelled, and close."""
        self._running = True
        free = trio.Semaphore(MAX_CLIENTS)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    for listener in self.listeners:
                        nursery.start_soon(_accept, listener.sock, watch, free, nursery)
                    task_status.started()
        finally:
            self._running = False
            self._close()

    def close(self) -> None:
        """Listen no more, and cut who is being answered; idempotent."""
        self._scope.cancel()
        if not self._running:
            self._close()

    def _close(self) -> None:
        for listener in self.listeners:
            listener.close()


async def _accept(
    sock: socket.socket, watch: Watched, free: trio.Semaphore, nursery: trio.Nursery
) -> None:
    while True:
        await free.acquire()
        nursery.start_soon(_attend, await _next_client(sock), watch, free)


async def _next_client(sock: socket.socket) -> trio.socket.SocketType:
    while True:
        await trio.lowlevel.wait_readable(sock)
        fds, exhausted = accept_batch(sock, 1)
        if fds:
            return trio.socket.from_stdlib_socket(socket.socket(fileno=fds[0]))
        if exhausted is not None:
            await trio.sleep(PAUSE)


async def _attend(client: trio.socket.SocketType, watch: Watched, free: trio.Semaphore) -> None:
    try:
        with client, suppress(OSError), trio.move_on_after(PATIENCE):
            await _converse(client, watch)
    finally:
        free.release()


async def _converse(client: trio.socket.SocketType, watch: Watched) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    is_head = False
    try:
        request = await _receive_request(client, connection)
        if request is None:
            return
        is_head = request.method == b"HEAD"
        code, body = await _answer(request, watch)
    except h11.RemoteProtocolError as error:
        code, body = error.error_status_hint, Answer("error", str(error))
    await _send(client, connection, code, body, is_head=is_head)
    with trio.move_on_after(LINGER):
        client.shutdown(socket.SHUT_WR)
        left = MAX_DISCARDED
        while left > 0 and (data := await client.recv(RECEIVE)):
            left -= len(data)


async def _receive_request(
    client: trio.socket.SocketType, connection: h11.Connection
) -> h11.Request | None:
    """The request's head, or None when the client closes before it has sent any of it."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(await client.recv(RECEIVE))


async def _answer(request: h11.Request, watch: Watched) -> tuple[int, Answer]:
    if request.method not in {b"GET", b"HEAD"}:
        return 405, Answer("error", "there is only GET and HEAD")
    path = request.target.partition(b"?")[0]
    if path == b"/healthz":
        return _report(watch, await _stuck(watch))
    if path == b"/readyz":
        return _report(watch, watch.unready())
    return 404, Answer("error", "there is only /healthz and /readyz")


async def _stuck(watch: Watched) -> str | None:
    with trio.move_on_after(STUCK):
        await watch.beat()
        return None
    return f"the loop that moves connections hasn't had a turn for {STUCK:g} s"


def _report(watch: Watched, reason: str | None) -> tuple[int, Answer]:
    vitals = watch.look()
    answer = Health(
        status="ok" if reason is None else "unavailable",
        reason=reason,
        state=vitals.phase.value,
        workers=vitals.wanted,
        ready=vitals.ready,
        queued=vitals.queued,
        uptime_s=round(watch.uptime(), 3),
    )
    return (200 if reason is None else 503), answer


async def _send(
    client: trio.socket.SocketType,
    connection: h11.Connection,
    code: int,
    answer: Answer,
    *,
    is_head: bool,
) -> None:
    body = msgspec.json.encode(answer) + b"\n"
    head = h11.Response(
        status_code=code,
        reason=HTTPStatus(code).phrase,
        headers=[
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            *([("Allow", "GET, HEAD")] if code == 405 else []),
            ("Connection", "close"),
        ],
    )
    data = connection.send(head) or b""
    await _send_all(client, data if is_head else data + body)


async def _send_all(client: trio.socket.SocketType, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[await client.send(view) :]
