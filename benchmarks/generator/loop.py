"""One generating process's part: what is due is sent, what comes is booked, nothing is forgotten.

Every request that was due ends in exactly one place: answered, or an error with its reason.  The
loop only looks at the clock, the schedule and one epoll; everything that could be prepared was.
"""

from __future__ import annotations

import errno
import gc
import select
from array import array
from collections import deque
from time import monotonic, process_time
from typing import TYPE_CHECKING, final

from benchmarks.generator import histogram
from benchmarks.generator.lines import CLOSING, PID, SOURCES, Line, ShortageError, connect
from benchmarks.generator.schedule import LIFETIME, draw, randomness, request
from benchmarks.generator.tally import Tally
from benchmarks.loadgen import response_end
from benchmarks.study.workloads import Clients

if TYPE_CHECKING:
    from benchmarks.generator.schedule import Part

__all__ = ["Loop"]

_FOR_EVER = 1 << 62


@final
class Loop:
    """Runs one part, once.  The sockets are its own and end with ``run``."""

    def __init__(self, part: Part) -> None:
        self._part, self._offer = part, part.offer
        self._stays = part.offer.clients is not Clients.EACH_NEW
        self._most = part.connections or _FOR_EVER
        self._schedule = draw(part)
        self._random = randomness(part, "connections")
        self._lines: dict[int, Line] = {}
        self._idle: deque[Line] = deque()  # the one that has been idle for longest is first
        self._waiting: deque[int] = deque()
        self._taken = self._settled = 0
        self._latencies: array[float] = array("d")
        self._tally = Tally()
        self._start = self._end = 0.0

    def run(self, start: float) -> Tally:
        """Follow the schedule from that time of the monotonic clock on."""
        offer = self._offer
        self._start = start
        self._end = start + offer.warm_up + offer.duration
        # A collection of the generator's own garbage is a pause of every request's.
        gc.disable()
        with select.epoll() as self._epoll:
            try:
                self._tally.cpu_share = self._loop(self._end + offer.timeout)
            finally:
                gc.enable()
                for line in self._lines.values():
                    line.sock.close()
        return self._account()

    def _loop(self, give_up: float) -> float:
        """Until everything is settled or it is time to give up; the share of a core it took."""
        self._prepare()
        began, cpu, share = monotonic(), process_time(), -1.0
        total = len(self._schedule.due)
        now = began
        while self._settled < total and now < give_up:
            self._take(now)
            self._send_waiting()
            self._wait(min(self._next(), give_up if share >= 0 else self._end))
            now = monotonic()
            if share < 0 and now >= self._end:
                share = (process_time() - cpu) / (now - began)
        return share if share >= 0 else (process_time() - cpu) / max(now - began, 1e-3)

    def _account(self) -> Tally:
        tally, first = self._tally, self._offer.warm_up
        tally.due = sum(due >= first for due in self._schedule.due)
        tally.answered = len(self._latencies)
        tally.latency = sum(self._latencies)
        tally.latencies = histogram.packed(self._latencies)
        rest = tally.due - tally.answered - tally.errors.total()
        if rest:
            tally.errors["timeout"] += rest
        return tally

    # The schedule.

    def _prepare(self) -> None:
        if self._stays:
            for _ in range(self._part.connections):
                self._renew()

    def _next(self) -> float:
        due = self._schedule.due
        return self._start + due[self._taken] if self._taken < len(due) else float("inf")

    def _take(self, now: float) -> None:
        due, start, first = self._schedule.due, self._start, self._offer.warm_up
        taken, total = self._taken, len(due)
        while taken < total and start + due[taken] <= now:
            if due[taken] >= first:
                self._tally.lags.append(now - start - due[taken])
            self._waiting.append(taken)
            taken += 1
        self._taken = taken

    def _send_waiting(self) -> None:
        waiting = self._waiting
        while waiting and (self._idle or len(self._lines) < self._most):
            number = waiting.popleft()
            line = self._idle.popleft() if self._idle else self._open(number)
            if line is not None:
                line.number = number
                line.unsent = request(self._offer, self._schedule.service[number])
                self._send(line)

    # Connections.

    def _open(self, number: int) -> Line | None:
        """A new one; None where there is none, which is the end of that request."""
        source = f"127.0.{self._part.index}.{1 + int(self._random.random() * SOURCES)}"
        try:
            sock = connect(self._offer.port, source)
        except ShortageError as error:
            self._tally.shortage = str(error)
            self._fail(number, "shortage")
            return None
        except OSError as error:
            self._fail(number, _reason(error))
            return None
        uneven = self._offer.clients is Clients.UNEVEN
        left = int(LIFETIME.draw(self._random)) if uneven else _FOR_EVER
        line = Line(sock, left)
        self._lines[sock.fileno()] = line
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        return line

    def _renew(self) -> None:
        """Open one that waits for its first request; without success it is opened when needed."""
        if (line := self._open(-1)) is not None:
            self._idle.append(line)

    def _drop(self, line: Line) -> None:
        del self._lines[line.sock.fileno()]
        line.sock.close()
        if self._stays:
            self._renew()

    # What comes and goes.

    def _wait(self, until: float) -> None:
        """Wait until that time: epoll's own timeout has no fractions of a millisecond.

        Its descriptor is one that select() can wait for, with microseconds.
        """
        events = self._epoll.poll(0)
        if not events:
            left = until - monotonic()
            if left > 0 and select.select([self._epoll.fileno()], (), (), left)[0]:
                events = self._epoll.poll(0)
        for fd, event in events:
            line = self._lines.get(fd)
            if line is None:
                continue
            if event & select.EPOLLOUT:
                self._epoll.modify(fd, select.EPOLLIN)
                self._send(line)
            else:
                self._receive(line)

    def _send(self, line: Line) -> None:
        try:
            # A hundred bytes always fit into an idle connection's buffer.
            line.sock.send(line.unsent)
        except BlockingIOError:
            self._epoll.modify(line.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
        except OSError as error:
            self._lost(line, _reason(error))
        else:
            line.unsent = b""

    def _receive(self, line: Line) -> None:
        try:
            piece = line.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(line, _reason(error))
            return
        if not piece:
            self._lost(line, "truncated" if line.data else "eof")
            return
        line.data = line.data + piece if line.data else piece
        end = response_end(line.data)
        if end is not None:
            self._complete(line, end)

    def _complete(self, line: Line, end: int) -> None:
        data, number = line.data, line.number
        if number < 0 or len(data) != end:
            self._lost(line, "more than asked for")
            return
        status = data[9:12]
        if status == b"200":
            self._answered(line, number)
        else:
            self._fail(number, f"status {status.decode(errors='replace')}")
        line.data, line.number = b"", -1
        line.left -= 1
        if not self._stays or not line.left or CLOSING.search(data):
            self._drop(line)
        else:
            self._idle.append(line)

    def _answered(self, line: Line, number: int) -> None:
        self._settled += 1
        due = self._schedule.due[number]
        if due < self._offer.warm_up:
            return
        now = monotonic()
        tally = self._tally
        self._latencies.append(now - self._start - due)
        tally.within += now <= self._end
        who = PID.search(line.data)
        pid = int(who[1]) if who else 0
        tally.requests[pid] += 1
        if not line.counted:
            line.counted = True
            tally.connections[pid] += 1

    def _lost(self, line: Line, why: str) -> None:
        """The connection is over; what was under way on it is an error."""
        if line.number >= 0:
            self._fail(line.number, why)
        else:
            self._idle.remove(line)
        self._drop(line)

    def _fail(self, number: int, why: str) -> None:
        if number < 0:
            return
        self._settled += 1
        if self._schedule.due[number] >= self._offer.warm_up:
            self._tally.errors[why] += 1


def _reason(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return "refused"
    if error.errno in {errno.ECONNRESET, errno.EPIPE}:
        return "reset"
    return errno.errorcode.get(error.errno or 0, "error")
