"""Requests on kept connections on a fixed schedule: what a client waits, honestly.

Theory: request i is due at start + i/rate, whatever the server does, and its latency runs from
then until its response is complete. A client that waits for the answer before it asks again stops
measuring just while the server stalls (coordinated omission: G. Tene, "How NOT to measure
latency"; wrk2 does it as here). When a request is due and every connection has one under way, it
waits in a queue of the client's, and its clock runs.

The generator has an error of its own: it wakes late, by the kernel's timer slack (50 µs) and
whenever it has to share its core. It is part of every latency, because the clock starts at the
schedule and not at send(), and `Paced.lags` has it alone. So figures are compared with those
of the same schedule without the server in question: what it adds is the difference.

Every latency is kept: percentiles are exact, where a histogram of wrk2's kind has three digits.
"""

from __future__ import annotations

import gc
import select
import socket
from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import final

from benchmarks.loadgen import percentile, response_end
from benchmarks.loads import LoadError

_CHUNK = 65536


@final
@dataclass(frozen=True, slots=True)
class Pace:
    """`count` requests, `rate` a second, over `connections`; `timeout` (seconds) bounds the rest.

    The timeout runs from the end of the schedule: what has no answer then is an error.
    """

    port: int
    rate: float = 1000.0
    count: int = 1000
    connections: int = 32
    path: str = "/"
    timeout: float = 5.0

    def due(self, number: int) -> float:
        """Seconds from the start until request `number` (from 0) is due."""
        return number / self.rate


@final
@dataclass(slots=True)
class Paced:
    """The account: every request that was due is in `latencies` or in `errors`. Seconds."""

    due: int = 0
    errors: int = 0
    latencies: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        """Nearest rank; 0.0 without an answer."""
        return percentile(self.latencies, percent)


class _Connection:
    """One kept connection. `due` is the time of the request under way, 0.0 when there is none."""

    __slots__ = ("data", "due", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.data = bytearray()
        self.due = 0.0


@final
class _Run:
    """The sockets are its own; `close()` ends them."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.report = Paced(due=pace.count)
        head = f"GET {pace.path} HTTP/1.1\r\nHost: 127.0.0.1:{pace.port}\r\n\r\n"
        self._request = head.encode()
        self._connections: dict[int, _Connection] = {}
        # The one that has been idle for longest is next, so that every worker gets its share.
        self._idle: deque[_Connection] = deque()
        self._queue: deque[float] = deque()
        self._launched = 0
        self._epoll = select.epoll()

    def close(self) -> None:
        for connection in self._connections.values():
            connection.sock.close()
        self._epoll.close()

    def open(self) -> None:
        sock = socket.create_connection(("127.0.0.1", self.pace.port), timeout=5.0)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(sock)
        self._connections[sock.fileno()] = connection
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        self._idle.append(connection)

    def run(self) -> Paced:
        pace, report = self.pace, self.report
        start = monotonic()
        give_up = start + pace.due(pace.count) + pace.timeout
        while len(report.latencies) + report.errors < pace.count:
            now = monotonic()
            if now >= give_up:
                break
            while self._launched < pace.count and start + pace.due(self._launched) <= now:
                self._queue.append(start + pace.due(self._launched))
                self._launched += 1
            while self._queue and self._idle:
                self._send(self._idle.popleft(), self._queue.popleft())
            last = self._launched == pace.count
            self._wait(give_up if last else start + pace.due(self._launched))
        report.errors = pace.count - len(report.latencies)
        return report

    def _send(self, connection: _Connection, due: float) -> None:
        connection.due = due
        self.report.lags.append(monotonic() - due)
        try:
            # A hundred bytes always fit into an idle connection's buffer.
            connection.sock.send(self._request)
        except OSError:
            self._lost(connection)

    def _wait(self, until: float) -> None:
        """Wait for answers until that time: epoll's own timeout has no fractions of a millisecond.

        Its descriptor is one that select() can wait for, with microseconds.
        """
        fd = self._epoll.fileno()
        ready, _, _ = select.select([fd], (), (), max(0.0, until - monotonic()))
        for number, _ in self._epoll.poll(0) if ready else ():
            self._receive(self._connections[number])

    def _receive(self, connection: _Connection) -> None:
        try:
            piece = connection.sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._lost(connection)
            return
        connection.data += piece
        end = response_end(connection.data)
        if end is None:
            return
        if connection.data.startswith(b"HTTP/1.1 200 ") and len(connection.data) == end:
            self.report.latencies.append(monotonic() - connection.due)
        else:
            self.report.errors += 1
        connection.due = 0.0
        connection.data.clear()
        self._idle.append(connection)

    def _lost(self, connection: _Connection) -> None:
        """The server ended it; what was under way is an error, and a new one takes its place."""
        if connection.due:
            self.report.errors += 1
        else:
            self._idle.remove(connection)
        del self._connections[connection.sock.fileno()]
        connection.sock.close()
        self.open()


def run(pace: Pace) -> Paced:
    """Run the schedule in this thread; LoadError when nobody can be reached."""
    one = _Run(pace)
    # A collection of the harness's own garbage is a pause of every request's.
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(pace.connections):
            one.open()
        return one.run()
    except OSError as error:
        raise LoadError(f"no connection to port {pace.port}: {error}") from error
    finally:
        one.close()
        if collecting:
            gc.enable()
