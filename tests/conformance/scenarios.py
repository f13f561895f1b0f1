"""The scenarios: one function per row, each returning the sequence of workers that a server shows.

The functions know nothing of Node or balancer; what they share is the vocabulary of
`tests.support.server.Server`. Workers are relabelled by their order of first appearance, 1, 2, 3…,
because rotation starts in the order in which workers became ready, which is not that of their ids.
A replacement keeps its own id beyond the first three.

A connection is "done" when its answer is complete and it is closed: the worker's ack was sent
before the answer, so the worker is (or is about to be) back in the free queue, in order.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, final

from tests.support.raw import RawConnection, Response, get, request
from tests.support.server import ready

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.server import Server, Status

STUCK = "…"
_NOTICE = 0.3  # seconds without an answer after which a connection counts as stuck
_BLOCK = 2.0

# What a thread that blocks is seen in (x86-64; arm64): nanosleep 35; 101, clock_nanosleep 230; 115,
# futex 202; 98. An idle event loop is in epoll_wait or epoll_pwait instead.
_BLOCKING_CALLS = {"35", "101", "230", "115", "202", "98"}

Sequence = list[int | str]


@final
class Labels:
    """Worker id → label: the order of first appearance for the workers there were at the start."""

    def __init__(self) -> None:
        self._labels: dict[int, int] = {}

    def learn(self, server: Server, port: int) -> list[int]:
        """One full rotation on `port`; returns the ids in its order, and labels the new ones."""
        order = [get(port).worker for _ in range(len(server.workers))]
        for worker in order:
            self._labels.setdefault(worker, len(self._labels) + 1)
        return order

    def __contains__(self, worker: int) -> bool:
        return worker in self._labels

    def of(self, worker: int) -> int:
        return self._labels.get(worker, worker)

    def id_of(self, label: int) -> int:
        return next(worker for worker, own in self._labels.items() if own == label)

    def sequence(self, workers: Iterable[int]) -> Sequence:
        return [self.of(worker) for worker in workers]


def sequential(port: int, count: int) -> list[int]:
    """`count` connections, each closed before the next opens; the ids that answered."""
    return [get(port).worker for _ in range(count)]


def s1_sequential(server: Server) -> Sequence:
    """S1: 12 sequential connections on an idle server."""
    labels = Labels()
    order = labels.learn(server, server.port)
    return labels.sequence([*order, *sequential(server.port, 9)])


def s3_blocked(server: Server) -> tuple[Sequence, float, int, Sequence]:
    """S3: the next worker blocks its event loop for 2 s, then 10 sequential connections.

    Returns the sequence (STUCK for one without an answer), when the stuck one was answered
    (seconds after the block began) and by whom, and the sequence after that.
    """
    labels = Labels()
    labels.learn(server, server.port)
    with ExitStack() as stack:
        blocked = monotonic()
        pid = server.workers[labels.id_of(1)]
        blocker = block(stack, server, server.port, labels.id_of(1))
        shown, stuck = until_noticed(stack, server.port, 10, labels)
        (waiting,) = stuck
        answer = waiting.receive_response(deadline=_BLOCK * 2)
        waited = monotonic() - blocked
        assert blocker.receive_response().pid == pid
        waiting.close()
        blocker.close()
        # balancer takes a worker without a heartbeat out of the rotation: let it have one again.
        server.wait_ready(3)
        after = labels.sequence(sequential(server.port, 6))
    return shown, waited, labels.of(answer.worker), after


def s5a_killed_idle(server: Server) -> tuple[Sequence, Sequence]:
    """S5a: four connections, SIGKILL of the idle second worker, wait for its replacement, eight."""
    labels = Labels()
    order = labels.learn(server, server.port)
    before = labels.sequence([*order, *sequential(server.port, 1)])
    known = set(server.workers)
    server.kill(labels.id_of(2), signal.SIGKILL)
    server.wait_for(lambda status: _newcomers(status, known))
    return before, labels.sequence(sequential(server.port, 8))


def s9a_drained(server: Server) -> tuple[Sequence, Response, set[int]]:
    """S9a: drain the worker that has one request under way, then go on connecting.

    Returns the sequence of the survivors (a replacement's answers would be left out), the answer to
    the request that was under way, and the ids that answered but should not: the drained worker's.
    Node's worker exits when its last connection has ended; balancer's may stay, idle.
    """
    labels = Labels()
    labels.learn(server, server.port)
    drained = labels.id_of(1)
    with RawConnection(server.port) as busy:
        busy.send(request("/sleep/1.5"))
        wait_until_taken(server)
        server.drain(drained)
        answered: list[int] = []
        while sum(worker in labels for worker in answered) < 6:
            answered.append(get(server.port).worker)
        response = busy.receive_response()
    server.wait_for(lambda status: _is_out(status, drained))
    survivors = labels.sequence(worker for worker in answered if worker in labels)
    return survivors, response, {drained} & set(answered)


def wait_until_taken(server: Server) -> None:
    """Return once the connection that was just opened has been handed over.

    The master accepts in order, so one that is answered was handed over after it.
    """
    get(server.port)


def s11_independent(server: Server) -> tuple[list[int], list[int], Sequence, Sequence]:
    """S11, first half: interleaved connections on two ports.

    Returns each port's own initial order and what it showed afterwards.
    """
    labels = Labels()
    first, second = server.ports
    orders = {port: labels.learn(server, port) for port in (first, second)}
    shown: dict[int, list[int]] = {first: [], second: []}
    for port in (first, second, second, first, second, first, first, second, second, first):
        shown[port].append(get(port).worker)
    return (
        [labels.of(worker) for worker in orders[first]],
        [labels.of(worker) for worker in orders[second]],
        labels.sequence(shown[first]),
        labels.sequence(shown[second]),
    )


def s11_blocked(server: Server) -> dict[int, Sequence]:
    """S11, second half: one worker blocked; six sequential connections on each of two ports."""
    labels = Labels()
    first, second = server.ports
    labels.learn(server, first)
    labels.learn(server, second)
    with ExitStack() as stack:
        block(stack, server, first, labels.id_of(1))
        return {port: until_noticed(stack, port, 6, labels)[0] for port in (first, second)}


def s12b_held(server: Server) -> Sequence:
    """S12b: one worker holds three open connections, the others none; nine new connections."""
    labels = Labels()
    labels.learn(server, server.port)
    with ExitStack() as stack:
        for _ in range(9):
            connection = stack.enter_context(RawConnection(server.port))
            if labels.of(connection.get().worker) != 1:
                connection.close()
        return labels.sequence(sequential(server.port, 9))


def block(stack: ExitStack, server: Server, port: int, worker: int) -> RawConnection:
    """Make the worker whose turn it is block; returns once its event loop stands still."""
    pid = server.workers[worker]
    connection = stack.enter_context(RawConnection(port))
    connection.send(request(f"/block/{_BLOCK:g}"))
    wait_until_blocked(pid)
    return connection


def wait_until_blocked(pid: int) -> None:
    """Return once the event loop of a process stands still."""
    until = monotonic() + 1.0
    while _system_call(pid) not in _BLOCKING_CALLS:
        assert monotonic() < until, f"process {pid} does not block: not its turn?"
        sleep(0.001)


def until_noticed(
    stack: ExitStack, port: int, count: int, labels: Labels
) -> tuple[Sequence, list[RawConnection]]:
    """Sequential connections; one without an answer stays open and shows as STUCK."""
    shown: Sequence = []
    stuck = []
    for _ in range(count):
        connection = stack.enter_context(RawConnection(port))
        connection.send(request(close=True))
        try:
            shown.append(labels.of(connection.receive_response(deadline=_NOTICE).worker))
            connection.close()
        except TimeoutError:
            shown.append(STUCK)
            stuck.append(connection)
    return shown, stuck


def _system_call(pid: int) -> str:
    """The number of the system call that the main thread is in."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[0]


def _newcomers(status: Status, known: set[int]) -> bool:
    return bool(ready(status).keys() - known)


def _is_out(status: Status, worker: int) -> bool:
    """Gone, or drained and idle."""
    rows = [row for row in status["workers"] if row["id"] == worker]
    return all(row["state"] in {"draining", "drained"} and row.get("active") == 0 for row in rows)
