"""The proxy with memory for sockets: a client's bytes in, what upstreams and the client got out."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Self, final

import trio
from trio.testing import wait_all_tasks_blocked

from balancer.apps.proxy.config import ProxyConfig
from balancer.apps.proxy.forward import ForwardConfig
from balancer.apps.proxy.handler import ProxyHandler
from balancer.http1 import ClientGone, Http1Config, Http1Server, NullStats
from balancer.settings import TrustedPeers
from balancer.upstream.connection import UpstreamConnection
from balancer.upstream.pool import Pool
from tests.fuzz.oracle import read_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balancer.core.retry import Failure
    from balancer.http1.transport import Address
    from balancer.upstream.directory import Wish
    from balancer.upstream.queue import Ticket
    from tests.fuzz.oracle import Asked

__all__ = ["Bench", "Habit", "Outcome", "Script", "Upstream"]

SIP = 61
"""How many bytes somebody slow takes at a time."""
PATIENCE = 20
"""How often a silent upstream may be waited for before it ends: a tunnel waits without a clock."""


class Habit(Enum):
    """How an upstream behaves that answers properly."""

    KEEP = "answers, and keeps its connections"
    CLOSE = "answers with Connection: close"
    EARLY = "answers when the head is there"
    STALE = "resets a connection at its second request"
    SLOW = "answers, and takes few bytes at a time; the client likewise"

    def __repr__(self) -> str:
        return str(self)  # so that a printed case can be pasted


@final
@dataclass(frozen=True, slots=True)
class Script:
    """What an upstream says to its first request, in pieces, and whether it ends then."""

    pieces: tuple[bytes, ...]
    ends: bool


class _Memory:
    """What both ends have in common."""

    scheme = "http"
    peer: Address = ("203.0.113.9", 4711)
    local: Address = ("127.0.0.1", 8000)

    def __init__(self, inbox: Sequence[bytes] = (), *, slow: bool = False) -> None:
        self.inbox = [piece for piece in inbox if piece]  # an empty one would be the end
        self.inbox.reverse()
        self.closed = self.aborted = self.half_closed = False
        self._slow = slow

    def recv_nowait(self, limit: int) -> bytes | None:
        if self.closed:
            raise ClientGone("closed")
        if not self.inbox:
            return self._nothing()
        data = self.inbox.pop()
        if len(data) > limit:
            self.inbox.append(data[limit:])
            data = data[:limit]
        return data

    def _nothing(self) -> bytes | None:
        return b""

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self.closed:
            raise ClientGone("closed")
        assert not self.half_closed
        taken = bytes(data[:SIP] if self._slow else data)
        self.got(taken)
        return len(taken)

    def got(self, data: bytes) -> None:
        raise NotImplementedError

    def post_nowait(self, data: bytes) -> int:
        return self.send_nowait(data)

    def send_last_nowait(self, data: bytes) -> int:
        sent = self.send_nowait(data)
        self.half_closed = sent == len(data)
        return sent

    async def wait_readable(self) -> None:
        pass

    async def wait_request(self) -> None:
        pass

    async def wait_writable(self) -> None:
        pass

    async def wait_posted(self) -> None:
        pass

    def interrupt(self) -> None:
        pass

    def watch(self, watcher: Callable[[], None] | None) -> None:
        pass

    @property
    def stirred(self) -> bool:
        return bool(self.inbox)

    @property
    def ended(self) -> bool:
        return False

    def has_bytes(self) -> bool:
        return bool(self.inbox)

    def send_eof(self) -> None:
        self.half_closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        if not self.closed:
            self.aborted = self.closed = True


@final
class _ClientEnd(_Memory):
    """A client that says all it has to say, closes its sending side, and reads everything."""

    def __init__(self, pieces: Sequence[bytes], *, slow: bool) -> None:
        super().__init__(pieces, slow=slow)
        self.heard = bytearray()

    def got(self, data: bytes) -> None:
        self.heard += data


@final
class Upstream(_Memory):
    """One connection's far end; ``pieces`` is what each send of the proxy carried."""

    def __init__(self, bench: Bench, habit: Habit, script: Script | None) -> None:
        super().__init__(slow=habit is Habit.SLOW)
        self.pieces: list[bytes] = []
        self.starts: list[int] = []
        """Which of them begin a request."""
        self.requests: list[Asked] = []
        """What they say, by the oracle."""
        self.answered = 0
        self.reset = False
        self.late = False
        self._bench = bench
        self._habit = habit
        self._script = script
        self._ends = self._over = False
        self._waits = 0
        self._between = True

    @property
    def stirred(self) -> bool:
        return bool(self.inbox) or self._over

    def got(self, data: bytes) -> None:
        if self._between:
            self.starts.append(len(self.pieces))
            self.pieces.append(data)
        elif self._slow:
            self.pieces[-1] += data  # it is the wire that has cut it
        else:
            self.pieces.append(data)
        stream = b"".join(self.pieces)
        self.requests = requests = read_requests(stream)
        if self._over or self._ends:
            self._between = False
            return
        self._between = bool(requests) and requests[-1].end == len(stream)
        while len(requests) > self.answered and not self._ends:
            asked = requests[self.answered]
            if not asked.complete and self._habit is not Habit.EARLY:
                return
            if self._habit is Habit.STALE and self.answered:
                self.reset = self._ends = True
                return
            self.answered += 1
            if self._script is not None and self.answered == 1:
                self.inbox[:0] = [each for each in reversed(self._script.pieces) if each]
                # a tunnel has no next request to answer
                self._ends = self._script.ends or b"101" in b"".join(self._script.pieces)
                continue
            body = asked.method + b" " + asked.origin
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(body)
            if self._habit is Habit.CLOSE:
                head += b"Connection: close\r\n"
                self._ends = True
            answer = head + b"\r\n" + (b"" if asked.method == b"HEAD" else body)
            self.inbox.insert(0, answer)

    def _nothing(self) -> bytes | None:
        if self.reset:
            raise ClientGone("reset")
        if self._ends:
            self._over = True
            return b""
        return None

    async def wait_request(self) -> None:
        if not self.inbox and not self._ends:
            self._be_late()

    async def wait_readable(self) -> None:
        if not self.inbox and not self._ends:
            await wait_all_tasks_blocked()
        if not self.inbox and not self._ends:
            self._be_late()

    def _be_late(self) -> None:
        """Time passes and nothing comes."""
        self.late = True
        self._waits += 1
        if self._waits > PATIENCE:
            self._ends = True
        self._bench.now += 1000.0
        raise trio.ClosedResourceError


@final
class _Lease:
    endpoint = 0
    name = "upstream"
    token = b"token"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def idle(self) -> UpstreamConnection | None:
        return self._bench.pool.take(0)

    async def connect(self) -> UpstreamConnection:
        bench = self._bench
        first = not bench.upstreams
        end = Upstream(bench, bench.habit, bench.script if first else None)
        bench.upstreams.append(end)
        return UpstreamConnection(end, 0, bench.limits, bench)

    def failed(self, failure: Failure) -> None:
        self._bench.failures.append(failure)

    def answered(self, status: int, seconds: float) -> None:
        pass

    def end(self, connection: UpstreamConnection | None) -> None:
        if connection is not None:
            connection.deadline = math.inf
            self._bench.pool.put(connection, self._bench.now)


@final
@dataclass(slots=True)
class Outcome:
    """What one case came to."""

    heard: bytes
    """What the client got."""
    aborted: bool
    """The client's connection was reset."""
    upstreams: list[Upstream]
    failures: list[Failure]
    complaints: list[str] = field(default_factory=list)
    """Exceptions that nobody expected."""


@final
class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


@final
class Bench:
    """Runs cases one after the other, in the caller's task; the proxy's directory and clock."""

    def __init__(self) -> None:
        self.limits = Http1Config()
        self.now = 0.0
        self.pool = Pool(32, 4.0)
        self.habit = Habit.KEEP
        self.script: Script | None = None
        self.upstreams: list[Upstream] = []
        self.failures: list[Failure] = []
        self._complaints = _Complaints()
        self._servers = [
            Http1Server(self._handler(trusted), self.limits, NullStats())
            for trusted in ((), ("203.0.113.9",))
        ]

    def _handler(self, trusted: tuple[str, ...]) -> ProxyHandler:
        return ProxyHandler(ProxyConfig(ForwardConfig(TrustedPeers(trusted))), self)

    def __enter__(self) -> Self:
        logger = logging.getLogger("balancer")
        logger.addHandler(self._complaints)
        self._before = (logger.level, logger.propagate)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger("balancer")
        logger.removeHandler(self._complaints)
        logger.level, logger.propagate = self._before
        logger.setLevel(logger.level)

    def claim(self, wish: Wish) -> _Lease:  # noqa: ARG002 - there is one endpoint
        return _Lease(self)

    async def wait(self, wish: Wish, ticket: Ticket) -> _Lease:
        raise NotImplementedError

    def may_retry(self) -> bool:
        return True

    async def run(
        self,
        pieces: Sequence[bytes],
        *,
        habit: Habit = Habit.KEEP,
        script: Script | None = None,
        trusted: bool = False,
    ) -> Outcome:
        """Serve one client to its end."""
        self.habit, self.script = habit, script
        self.upstreams, self.failures = [], []
        self.pool.close()
        client = _ClientEnd(pieces, slow=habit is Habit.SLOW)
        try:
            await self._servers[trusted].serve_transport(client)
        except Exception as error:  # noqa: BLE001 - which is what is looked for
            self._complaints.found.append(repr(error))
        complaints, self._complaints.found = self._complaints.found, []
        return Outcome(
            bytes(client.heard), client.aborted, self.upstreams, self.failures, complaints
        )
