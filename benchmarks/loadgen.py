"""A load generator that accounts for every connection it opens.

Theory: a benchmark wants speed, a fault test wants the truth about each single connection, and
both want a client that costs less than the server. So: one thread, non-blocking sockets, one
epoll, no task and no callback per connection. Every attempt (a connection, or in keep-alive mode a
request) ends in exactly one `Outcome`, and `Report.check()` proves that none was forgotten.

Three shapes of load:

- closed loop: `concurrency` connections at a time, the next one starts when one ends;
- open loop (`rate` > 0): connections start on a fixed schedule whatever the server does, which is
  the only honest way to measure latency: a closed loop stops asking while the server stalls;
- keep-alive: `concurrency` connections that stay, with an optional `pause` between requests.

Ephemeral ports: at 10,000 connections a second one source address is used up in three seconds of
TIME_WAIT, so connections rotate over 127.0.0.1 … 127.0.0.N, bound with IP_BIND_ADDRESS_NO_PORT,
which leaves the port to connect(), where only the 4-tuple has to be unique.
"""

from __future__ import annotations

import errno
import heapq
import random
import re
import resource
import select
import socket
import threading
from collections import Counter, deque
from dataclasses import dataclass, field, fields
from enum import StrEnum
from time import monotonic
from typing import Any, NamedTuple, final

# Linux's value; the socket module has no name for it before Python 3.12.
_IP_BIND_ADDRESS_NO_PORT = 24
# "Hello from worker 1 (pid 4321)", or "slept 1 s in pid 4321"
_WHO = re.compile(rb"(?:from worker (\d+) \(|in )pid (\d+)")
_WHO_WITHIN = 2048  # bytes, heads included: not to search downloads
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_CONNECTING = {0, errno.EINPROGRESS}
_LONGEST_WAIT = 0.05  # seconds; how late a stop() may be noticed
_AFTER_REFUSAL = 0.01  # seconds
_SPARE_FDS = 64


class Outcome(StrEnum):
    """How one attempt ended; the values are the keys of `Report.outcomes`."""

    OK = "ok"  # a complete response with status 2xx
    BAD_STATUS = "bad_status"  # a complete response with another status
    REFUSED = "refused"  # connect(): ECONNREFUSED
    RESET = "reset"  # RST before the first byte of the response
    EOF = "eof"  # FIN before the first byte of the response
    TRUNCATED = "truncated"  # FIN or RST inside the response
    TIMEOUT = "timeout"  # no complete response in time: it hung


class ClientShortageError(Exception):
    """The client itself ran out of something (ports, descriptors): its numbers say nothing."""


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, how fast, and when to stop; at least one of `count` and `duration` bounds it.

    Times are in seconds, `rate` in connections per second. `timeout` bounds each attempt from its
    start. `pause` is the mean of a uniform pause before each further request of a kept connection.
    With a `body` (its length in bytes) the request is a POST.
    """

    port: int
    host: str = "127.0.0.1"
    path: str = "/"
    body: int = 0
    rate: float = 0.0
    concurrency: int = 8
    keep_alive: bool = False
    pause: float = 0.0
    requests_per_connection: int = 0
    count: int = 0
    duration: float = 0.0
    timeout: float = 10.0
    sources: int = 16
    max_open: int = 4000
    seed: int = 0
    keep_records: bool = True

    def __post_init__(self) -> None:
        if not self.count and not self.duration:
            raise ValueError("a plan needs a count or a duration")
        if self.rate and self.keep_alive:
            raise ValueError("an open loop (rate) opens a connection per request")

    def request(self) -> bytes:
        method = "POST" if self.body else "GET"
        fields = "" if self.keep_alive else "Connection: close\r\n"
        if self.body:
            fields += f"Content-Length: {self.body}\r\n"
        head = f"{method} {self.path} HTTP/1.1\r\nHost: {self.host}\r\n{fields}\r\n"
        return head.encode() + b"x" * self.body


class Record(NamedTuple):
    """One attempt. Times are seconds; `start` is on the monotonic clock."""

    start: float
    outcome: str
    worker: int  # 0: the answer did not say
    pid: int
    first_byte: float  # from connect() (a new connection) or send(); 0.0: none came
    total: float
    connection: int  # number of the connection, from 1
    local: str  # the client's address, for failures only: it names the connection on the wire


@final
@dataclass(slots=True)
class Report:
    """The account of a load: `sum(outcomes) == attempts`, always."""

    opened: int = 0
    attempts: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    by_worker: Counter[int] = field(default_factory=Counter)
    idle_closed: int = 0  # kept connections the server closed between two requests: no error
    idle_reset: int = 0  # the same with RST: an error
    seconds: float = 0.0
    received: int = 0  # bytes, heads included
    max_lag: float = 0.0  # open loop: how late the worst connection started
    latencies: list[float] = field(default_factory=list)  # first byte, of complete answers
    records: list[Record] = field(default_factory=list)
    failures: list[Record] = field(default_factory=list)

    @property
    def ok(self) -> int:
        return self.outcomes[Outcome.OK]

    @property
    def failed(self) -> int:
        return self.attempts - self.ok + self.idle_reset

    @property
    def per_second(self) -> float:
        return self.ok / self.seconds if self.seconds else 0.0

    def percentile(self, percent: float) -> float:
        """Latency to the first byte in seconds (0.0 without an answer), nearest rank."""
        return percentile(self.latencies, percent)

    def check(self) -> None:
        """Raise AssertionError when an attempt has no outcome, or more than one."""
        if self.outcomes.total() != self.attempts:
            raise AssertionError(f"{self.attempts} attempts, outcomes {dict(self.outcomes)}")

    def summary(self) -> str:
        counts = " ".join(f"{name}={n}" for name, n in sorted(self.outcomes.items()))
        return (
            f"{self.attempts} attempts on {self.opened} connections in {self.seconds:.2f} s: "
            f"{counts or 'nothing'} idle_closed={self.idle_closed} idle_reset={self.idle_reset}"
        )

    def as_dict(self, *, records: bool = False) -> dict[str, Any]:
        """A JSON-ready form; the records only when asked for."""
        form: dict[str, Any] = {name.name: getattr(self, name.name) for name in fields(self)}
        form |= {
            "per_second": self.per_second,
            "p50": self.percentile(50),
            "p99": self.percentile(99),
            "failures": [record._asdict() for record in self.failures],
            "records": [record._asdict() for record in self.records],
        }
        if not records:
            del form["records"], form["latencies"]
        return form


def percentile(values: list[float], percent: float) -> float:
    """The nearest-rank percentile; 0.0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def response_end(data: bytes | bytearray) -> int | None:
    """The length of the first complete response in `data`; None while it is incomplete.

    A response with neither Content-Length nor chunked coding ends at EOF, and is never complete
    here: `_Loop` asks again with what it has when the EOF comes.
    """
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    if length := _LENGTH.search(data, 0, head + 2):
        end = head + 4 + int(length[1])
        return end if len(data) >= end else None
    if _CHUNKED.search(data, 0, head + 2):
        return _chunked_end(data, head + 4)
    return None


def _chunked_end(data: bytes | bytearray, at: int) -> int | None:
    while (line := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line].split(b";")[0], 16)
        at = line + 2 + size + 2
        if at > len(data):
            return None
        if size == 0:
            return at
    return None


def _ends_at_eof(data: bytearray) -> bool:
    head = data.find(b"\r\n\r\n")
    return (
        head >= 0
        and not _LENGTH.search(data, 0, head + 2)
        and not _CHUNKED.search(data, 0, head + 2)
    )


class _Connection:
    __slots__ = ("attempt", "data", "first", "number", "served", "sock", "start", "unsent")

    def __init__(self, sock: socket.socket, number: int, start: float) -> None:
        self.sock = sock
        self.number = number
        self.data = bytearray()
        self.served = 0
        self.attempt = 0  # 0: idle; else the number of the attempt that is under way
        self.start = start
        self.first = 0.0
        self.unsent = memoryview(b"")


@final
class Load:
    """Runs one plan. `run()` blocks; `stop()`, from any thread, ends it after what is under way."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.report = Report()
        self._request = memoryview(plan.request())  # what is left of it is sliced without a copy
        self._random = random.Random(plan.seed)
        self._stop = threading.Event()
        self._connections: dict[int, _Connection] = {}
        self._deadlines: deque[tuple[float, _Connection, int]] = deque()
        self._pauses: list[tuple[float, int, _Connection]] = []
        self._started = 0.0
        self._launched = 0
        self._held_until = 0.0
        soft_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._max_open = max(1, min(plan.max_open, soft_limit - _SPARE_FDS))

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> Report:
        """Run the plan to its end and return the account.

        Raises ClientShortageError when the client ran out of ports or descriptors, OSError for a
        socket error that is no outcome (an unreachable address).
        """
        self._started = monotonic()
        with select.epoll() as self._epoll:
            try:
                self._loop()
            finally:
                for connection in self._connections.values():
                    connection.sock.close()
        self.report.seconds = monotonic() - self._started
        self.report.check()
        return self.report

    def _loop(self) -> None:
        while True:
            now = monotonic()
            ending = self._ending(now)
            if ending:
                self._close_idle()
                if not self._connections:
                    return
            else:
                self._launch(now)
                self._resume(now)
            self._expire(now)
            for fd, events in self._wait():
                connection = self._connections.get(fd)
                if connection is not None:
                    self._on_event(connection, events)

    def _ending(self, now: float) -> bool:
        plan = self.plan
        return (
            self._stop.is_set()
            or bool(plan.duration and now - self._started >= plan.duration)
            or bool(plan.count and self.report.attempts >= plan.count)
        )

    def _wait(self) -> list[tuple[int, int]]:
        events = self._epoll.poll(0, 256)
        if events:
            return events
        # epoll's own timeout is in whole milliseconds, too coarse for a schedule of 1,000 a
        # second; select() takes microseconds, and the epoll descriptor is itself selectable.
        if self._epoll.fileno() < 1024:
            select.select([self._epoll.fileno()], (), (), self._patience(monotonic()))
            return self._epoll.poll(0, 256)
        return self._epoll.poll(self._patience(monotonic()), 256)

    def _patience(self, now: float) -> float:
        until = now + _LONGEST_WAIT
        if self._deadlines:
            until = min(until, self._deadlines[0][0])
        if self._pauses:
            until = min(until, self._pauses[0][0])
        if self.plan.rate and len(self._connections) < self._max_open:
            until = min(until, self._due())
        if self._held_until > now:
            until = min(until, self._held_until)
        return max(0.0, until - now)

    def _due(self) -> float:
        return self._started + self._launched / self.plan.rate

    # Starting attempts.

    def _launch(self, now: float) -> None:
        if self.plan.rate:
            while self._due() <= now and self._may_launch(self._max_open):
                self.report.max_lag = max(self.report.max_lag, now - self._due())
                self._connect()
        elif now >= self._held_until:
            most = min(self.plan.concurrency, self._max_open)
            while self._may_launch(most) and now >= self._held_until:
                self._connect()

    def _may_launch(self, most: int) -> bool:
        more = not self.plan.count or self.report.attempts < self.plan.count
        return more and len(self._connections) < most

    def _connect(self) -> None:
        start = monotonic()
        self._launched += 1
        self.report.opened += 1
        try:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            raise ClientShortageError(f"no socket for the client: {error}") from error
        connection = _Connection(sock, self.report.opened, start)
        self._connections[sock.fileno()] = connection
        self._begin(connection, start)
        if self.plan.sources > 1:
            source = 1 + self._launched % self.plan.sources
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((f"127.0.0.{source}", 0))
        code = sock.connect_ex((self.plan.host, self.plan.port))
        if code in {errno.EADDRNOTAVAIL, errno.EAGAIN}:
            raise ClientShortageError("the client ran out of ephemeral ports; raise `sources`")
        if code in _CONNECTING:
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            # On loopback the handshake is over when connect() returns EINPROGRESS, so the request
            # can leave now; EAGAIN (full backlog) waits for EPOLLOUT like any other.
            self._send(connection)
        else:
            self._fail(connection, code)

    def _begin(self, connection: _Connection, start: float) -> None:
        self.report.attempts += 1
        connection.attempt = self.report.attempts
        connection.start = start
        connection.first = 0.0
        connection.unsent = self._request
        self._deadlines.append((start + self.plan.timeout, connection, connection.attempt))

    def _resume(self, now: float) -> None:
        while self._pauses and self._pauses[0][0] <= now:
            connection = heapq.heappop(self._pauses)[2]
            if connection.sock.fileno() < 0:
                continue
            # As every client with a pool of connections: one that has ended meanwhile is no error.
            self._receive(connection)
            if connection.sock.fileno() >= 0:
                self._next_request(connection)

    def _next_request(self, connection: _Connection) -> None:
        if self.plan.count and self.report.attempts >= self.plan.count:
            return
        self._begin(connection, monotonic())
        self._send(connection)

    # Under way.

    def _on_event(self, connection: _Connection, events: int) -> None:
        if connection.unsent and events & select.EPOLLOUT:
            self._epoll.modify(connection.sock.fileno(), select.EPOLLIN)
            self._send(connection)
        elif events:
            self._receive(connection)

    def _send(self, connection: _Connection) -> None:
        try:
            sent = connection.sock.send(connection.unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail(connection, error.errno or 0)
            return
        connection.unsent = connection.unsent[sent:]
        if connection.unsent:
            self._epoll.modify(connection.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(connection, error.errno or 0)
            return
        if not data:
            self._at_eof(connection)
            return
        if not connection.first:
            connection.first = monotonic() - connection.start
        self.report.received += len(data)
        connection.data += data
        end = response_end(connection.data)
        if end is not None and connection.attempt:
            self._complete(connection, end)

    def _complete(self, connection: _Connection, end: int) -> None:
        data = connection.data
        # "HTTP/1.1 200 OK": the status class is the tenth byte.
        self._settle(connection, Outcome.OK if data[9:10] == b"2" else Outcome.BAD_STATUS)
        closing = not self.plan.keep_alive or _CLOSE.search(data, 0, data.find(b"\r\n\r\n") + 2)
        connection.served += 1
        limit = self.plan.requests_per_connection
        if closing or self._stop.is_set() or (limit and connection.served >= limit):
            self._drop(connection)
            return
        del data[:end]
        if self.plan.pause:
            resume = monotonic() + self._random.uniform(0, 2 * self.plan.pause)
            heapq.heappush(self._pauses, (resume, connection.number, connection))
        elif not self._ending(monotonic()):
            self._next_request(connection)

    # Ends.

    def _at_eof(self, connection: _Connection) -> None:
        if not connection.attempt:
            self.report.idle_closed += 1
        elif _ends_at_eof(connection.data):
            self._complete(connection, len(connection.data))
        else:
            self._settle(connection, Outcome.TRUNCATED if connection.data else Outcome.EOF)
        self._drop(connection)

    def _fail(self, connection: _Connection, code: int) -> None:
        if not connection.attempt:
            self.report.idle_reset += 1
        elif code == errno.ECONNREFUSED:
            self._settle(connection, Outcome.REFUSED)
            # A refusal costs nothing, so a closed loop would spin on a closed port.
            self._held_until = monotonic() + _AFTER_REFUSAL
        elif code == errno.ETIMEDOUT:
            self._settle(connection, Outcome.TIMEOUT)
        elif code in {errno.ECONNRESET, errno.EPIPE}:
            self._settle(connection, Outcome.TRUNCATED if connection.data else Outcome.RESET)
        else:
            raise OSError(code, "unexpected socket error in the client")
        self._drop(connection)

    def _expire(self, now: float) -> None:
        while self._deadlines:
            deadline, connection, attempt = self._deadlines[0]
            if connection.attempt != attempt:
                self._deadlines.popleft()
            elif deadline <= now:
                self._deadlines.popleft()
                self._settle(connection, Outcome.TIMEOUT)
                self._drop(connection)
            else:
                return

    def _close_idle(self) -> None:
        for connection in [c for c in self._connections.values() if not c.attempt]:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        self._connections.pop(connection.sock.fileno(), None)
        connection.sock.close()

    def _settle(self, connection: _Connection, outcome: Outcome) -> None:
        """Book the one outcome of the attempt that is under way."""
        report = self.report
        report.outcomes[outcome.value] += 1
        who = _WHO.search(connection.data, 0, _WHO_WITHIN)
        worker, pid = (int(who[1] or 0), int(who[2])) if who else (0, 0)
        if outcome is Outcome.OK:
            report.by_worker[worker] += 1
            report.latencies.append(connection.first)
            if not self.plan.keep_records:
                connection.attempt = 0
                return
        record = Record(
            connection.start,
            outcome.value,
            worker,
            pid,
            connection.first,
            monotonic() - connection.start,
            connection.number,
            "" if outcome is Outcome.OK else _local_address(connection.sock),
        )
        connection.attempt = 0
        if outcome is not Outcome.OK:
            report.failures.append(record)
        if self.plan.keep_records:
            report.records.append(record)


def _local_address(sock: socket.socket) -> str:
    host, port = sock.getsockname()
    return f"{host}:{port}"


def run(plan: Plan) -> Report:
    """Run a plan in this thread and return the account."""
    return Load(plan).run()
