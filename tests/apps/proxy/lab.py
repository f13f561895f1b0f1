"""A proxy between a raw client and a scripted upstream, with real sockets, in one process."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, final

import trio

from balancer.apps.proxy.config import ProxyConfig
from balancer.apps.proxy.forward import ForwardConfig
from balancer.apps.proxy.handler import ProxyHandler
from balancer.http1 import Http1Config, Http1Server, NullStats
from balancer.http1.inline import drive
from balancer.settings import TrustedPeers
from balancer.settings.policy import PolicyChoice
from balancer.upstream.connection import UpstreamConnection
from balancer.upstream.directory import NoEndpoint, Wish
from balancer.upstream.errors import ClientLeft
from balancer.upstream.handshake import open_transport
from balancer.upstream.pool import Pool

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from balancer.core.retry import Failure
    from balancer.upstream.handshake import TlsTarget
    from balancer.upstream.queue import Ticket

__all__ = ["Lab", "Talk", "lab"]

ROUND_ROBIN = PolicyChoice("round-robin")


@final
class Talk:
    """One end of a connection, as a test speaks it."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.stream = trio.SocketStream(sock)
        self._wire: trio.abc.Stream = self.stream
        self._seen = b""

    async def secure(self, context: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
        """Go on in TLS, as its server."""
        wire = trio.SSLStream(self.stream, context, server_side=True)
        await wire.do_handshake()
        self._wire = wire
        return wire

    async def say(self, *pieces: bytes) -> None:
        """Send, in so many pieces."""
        for piece in pieces:
            await self._wire.send_all(piece)

    async def hear(self, end: bytes = b"\r\n\r\n") -> bytes:
        """What comes up to ``end``, with it."""
        while end not in self._seen:
            data = await self._wire.receive_some(65536)
            assert data, f"the end came after {self._seen!r}"
            self._seen += data
        found, self._seen = self._seen.split(end, 1)
        return found + end

    async def hear_all(self) -> bytes:
        """What comes up to the end of the stream."""
        async for data in self._wire:
            self._seen += data
        found, self._seen = self._seen, b""
        return found

    async def hear_size(self, size: int) -> bytes:
        """So many bytes."""
        while len(self._seen) < size:
            data = await self._wire.receive_some(65536)
            assert data
            self._seen += data
        found, self._seen = self._seen[:size], self._seen[size:]
        return found

    def reset(self) -> None:
        """Close with a reset."""
        linger = b"\1\0\0\0\0\0\0\0"
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.stream.socket.close()


@final
class _Lease:
    name = "the upstream"
    token = b"token"

    def __init__(self, here: Lab, endpoint: int) -> None:
        self.endpoint = endpoint
        self._lab = here

    def idle(self) -> UpstreamConnection | None:
        return self._lab.pool.take(self.endpoint)

    async def connect(self) -> UpstreamConnection:
        here = self._lab
        listener = here.listeners[self.endpoint]
        transport = await open_transport(
            (listener.family, here.addresses[self.endpoint]),
            here.connect_timeout,
            here.server.transport,
            here.target,
        )
        made = UpstreamConnection(transport, self.endpoint, Http1Config(), here.server.clock)
        here.busy.append(made)
        return made

    def failed(self, failure: Failure) -> None:
        self._lab.failures.append(failure)

    def answered(self, status: int, seconds: float) -> None:
        assert seconds >= 0
        self._lab.statuses.append(status)

    def end(self, connection: UpstreamConnection | None) -> None:
        self._lab.ended += 1
        if connection is not None:
            self._lab.pool.put(connection, self._lab.server.now)


@final
class Lab:
    """The proxy, what it has counted, and its two sides."""

    def __init__(
        self,
        config: ProxyConfig,
        listeners: list[socket.socket],
        target: TlsTarget | None,
    ) -> None:
        self.target = target
        self.connect_timeout = 3.0
        self.failures: list[Failure] = []
        self.statuses: list[int] = []
        self.leases = self.ended = 0
        self.pool = Pool(32, 4.0)
        self.listeners = listeners
        self.addresses = [each.getsockname() for each in self.listeners]
        self.server = Http1Server(ProxyHandler(config, self), Http1Config(), NullStats())
        self.nursery: trio.Nursery
        self.budget = True
        self.full = False
        self.waiting = trio.Event()
        self.ticket: Ticket | None = None
        self.abandoned = trio.Event()
        self.wishes: list[tuple[bytes, bytes]] = []
        self.busy: list[UpstreamConnection] = []
        self._ends: list[trio.socket.SocketType] = []
        self._incoming = [trio.socket.from_stdlib_socket(each) for each in self.listeners]

    def claim(self, wish: Wish) -> _Lease | None:
        left = [n for n in range(len(self.listeners)) if n not in wish.tried]
        if not self.listeners:
            raise NoEndpoint("no upstream is available", 3)
        if self.full:
            return None
        self.wishes.append((wish.key, wish.prefer))
        self.leases += 1
        return _Lease(self, left[0] if left else 0)

    async def wait(self, wish: Wish, ticket: Ticket) -> _Lease:
        self.ticket = ticket
        self.waiting.set()
        await ticket.called(trio.current_time() + 5)
        if ticket.abandoned:
            self.abandoned.set()
            raise ClientLeft
        self.full = False
        lease = self.claim(wish)
        assert lease is not None
        return lease

    def may_retry(self) -> bool:
        return self.budget

    def expire(self) -> None:
        """The reaper's turn for what is in use."""
        for connection in self.busy:
            connection.expire(self.server.now)

    async def upstream(self, index: int = 0) -> Talk:
        """The next connection that the proxy makes."""
        sock, _ = await self._incoming[index].accept()
        return self._talk(sock)

    def _talk(self, sock: trio.socket.SocketType) -> Talk:
        self._ends.append(sock)
        return Talk(sock)

    def client(self) -> Talk:
        """A new connection to the proxy."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        plain = socket.SocketType(accepted.family, accepted.type, 0, accepted.detach())
        self.nursery.start_soon(drive, self.server.serve(plain))
        client.setblocking(False)
        return self._talk(trio.socket.from_stdlib_socket(client))

    async def ask(self, request: bytes) -> tuple[Talk, Talk, bytes]:
        """A client, the upstream that got its request, and the head of that."""
        client = self.client()
        await client.say(request)
        upstream = await self.upstream()
        return client, upstream, await upstream.hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()
        for each in self._incoming + self._ends:
            each.close()


@asynccontextmanager
async def lab(
    *,
    retries: int = 2,
    response_timeout: float = 60.0,
    upstreams: int = 1,
    policy: PolicyChoice = ROUND_ROBIN,
    sticky: bytes = b"",
    trusted: tuple[str, ...] = (),
    listeners: list[socket.socket] | None = None,
    target: TlsTarget | None = None,
) -> AsyncIterator[Lab]:
    """``listeners``: where the upstreams listen, if not at ports; ``target``: they speak TLS."""
    config = ProxyConfig(
        ForwardConfig(TrustedPeers(trusted)),
        retries,
        response_timeout,
        policy=policy,
        sticky=sticky,
    )
    if listeners is None:
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(upstreams)]
    with Lab(config, listeners, target) as here, trio.fail_after(10):
        async with trio.open_nursery() as here.nursery:
            here.server.open(here.nursery)
            yield here
            here.nursery.cancel_scope.cancel()
    assert here.leases == here.ended
