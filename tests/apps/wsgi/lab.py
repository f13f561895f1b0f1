"""A WSGI service without a worker: clients in memory, or on the other end of a socket pair."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from balancer.apps.wsgi import WsgiConfig, WsgiService
from balancer.http1 import Http1Config, NullStats
from balancer.http1.inline import drive
from balancer.settings import TrustedPeers
from tests.http1.fakes import WHOLE, answer_to, conversation, undated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINE = 5.0
PLAIN = [("Content-Type", "text/plain")]
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
App = Any  # what is no WSGI app is tested too
Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]


@dataclass
class FakeHost:
    """What a service says to its worker."""

    free: list[int] = field(default_factory=list)
    wishes: list[str] = field(default_factory=list)
    gave_up: bool = False

    def seats(self, free: int) -> None:
        self.free.append(free)

    def leave(self, reason: str) -> None:
        self.wishes.append(reason)

    def give_up(self) -> None:
        self.gave_up = True


@dataclass
class Site:
    """A service that runs."""

    service: WsgiService
    host: FakeHost
    nursery: trio.Nursery

    def connect(self) -> trio.SocketStream:
        """A client of its own."""
        ours, theirs = socket.socketpair()
        self.nursery.start_soon(drive, self.service.serve(theirs))
        return trio.SocketStream(trio.socket.from_stdlib_socket(ours))


@asynccontextmanager
async def serving(
    app: App,
    *,
    threads: int = 1,
    engine: Http1Config | None = None,
    root_path: str = "",
    forwarded_allow_ips: tuple[str, ...] = (),
    parked: bool = True,
) -> AsyncIterator[Site]:
    """Start, and leave as a worker does: what runs may finish.

    ``parked``: connections are, while their threads work, and have to be driven by hand then.
    """
    config = WsgiConfig("site:app", threads, root_path, TrustedPeers(forwarded_allow_ips))
    host = FakeHost()
    service = WsgiService(app, config, engine or Http1Config(), NullStats(), host)
    async with trio.open_nursery() as nursery:
        await service.start(nursery)
        if parked:
            service.open(nursery)
        yield Site(service, host, nursery)
        with trio.fail_after(DEADLINE):
            await service.stop()
        nursery.cancel_scope.cancel()


async def ask(
    app: App,
    request: bytes = GET,
    *,
    piece: int = WHOLE,
    engine: Http1Config | None = None,
    threads: int = 1,
    root_path: str = "",
    forwarded_allow_ips: tuple[str, ...] = (),
) -> bytes:
    """Everything that a client hears that sends this and then half-closes; no Date."""
    async with serving(
        app,
        engine=engine,
        threads=threads,
        root_path=root_path,
        forwarded_allow_ips=forwarded_allow_ips,
        parked=False,
    ) as site:
        with trio.fail_after(DEADLINE):
            return await answer_to(site.service.handle, request, piece=piece, config=engine)


async def aborts(app: App, request: bytes = GET) -> bytes:
    """What comes before the reset; no Date."""
    async with serving(app, parked=False) as site, conversation(site.service.handle) as talk:
        talk.say(request)
        with trio.fail_after(DEADLINE):
            await talk.over.wait()
        assert talk.state() == "aborted", talk.transport.sent
        return undated(talk.transport.sent)


async def read_until(client: trio.SocketStream, end: bytes) -> bytes:
    """What comes, up to ``end``."""
    heard = b""
    with trio.fail_after(DEADLINE):
        while not heard.endswith(end):
            data = await client.receive_some()
            assert data, f"the end came after {heard!r}"
            heard += data
    return heard


def body(answer: bytes) -> bytes:
    """The body of an answer that has a Content-Length."""
    return answer.partition(b"\r\n\r\n")[2]


def says(
    text: bytes = b"ok", status: str = "200 OK", headers: list[tuple[str, str]] = PLAIN
) -> App:
    """An app that answers with one block."""

    def app(_environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response(status, list(headers))
        return [text]

    return app
