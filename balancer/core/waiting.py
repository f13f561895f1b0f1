"""The queues of a lane where some wait for their own worker, and others for whoever is free.

A connection in it is in one of three places: *joining*, until it is decided where it belongs;
*open*, for anybody; or *tied* to a worker, in that one's own queue, until a time.  Who is tied to
whom is decided elsewhere (``by_key``).  Every queue is in accept order, whatever comes back.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush, merge
from itertools import chain
from typing import TYPE_CHECKING, final

from balancer.core.books import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balancer.core.books import Connection

__all__ = ["InOrder", "Waiting", "put_in_order"]


def put_in_order(queue: deque[Connection], connection: Connection) -> None:
    """Put a connection into a queue that is in accept order: O(1) for its end, O(n) before."""
    if not queue or queue[-1].number < connection.number:
        queue.append(connection)
        return
    older = []
    while queue[0].number < connection.number:
        older.append(queue.popleft())
    queue.appendleft(connection)
    queue.extendleft(reversed(older))


@final
class InOrder:
    """A queue in accept order, whatever the order of the puts; O(log n) for each.

    When a worker is found out, hundreds move at once to where others have come after them: a
    ``put_in_order`` for each took the master four seconds for a queue of 16,000.
    """

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, Connection]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Connection]:
        """All of them, in accept order."""
        return (connection for _, connection in sorted(self._heap))

    @property
    def first(self) -> Connection:
        """The first, where there is one."""
        return self._heap[0][1]

    def put(self, connection: Connection) -> None:
        heappush(self._heap, (connection.number, connection))

    def take(self) -> Connection:
        """Take out the first, where there is one."""
        return heappop(self._heap)[1]

    def clear(self) -> None:
        self._heap.clear()


@final
class Waiting:
    """All that wait in a lane; O(log n) for each step of a connection."""

    __slots__ = ("_expiries", "_own", "_tied", "joining", "open")

    def __init__(self) -> None:
        self.joining: deque[Connection] = deque()
        """Those that were accepted or came back, and aren't tied or open yet."""
        self.open = InOrder()
        """Those that anybody may take."""
        self._own: dict[int, InOrder] = {}  # by worker; none is empty
        self._tied: dict[int, int] = {}  # by number: to which worker
        self._expiries: list[tuple[float, int]] = []  # until when it is tied, and which

    def __len__(self) -> int:
        """How many wait, wherever."""
        return len(self._tied) + len(self.open) + len(self.joining)

    def __iter__(self) -> Iterator[Connection]:
        """All of them, in accept order."""
        return iter(sorted(chain(self.joining, self.open, *self._own.values()), key=_number))

    def clear(self) -> None:
        """Forget all of them."""
        self.joining.clear()
        self.open.clear()
        self._own.clear()
        self._tied.clear()
        self._expiries.clear()

    def tied(self, worker: int) -> int:
        """How many are tied to a worker."""
        own = self._own.get(worker)
        return 0 if own is None else len(own)

    def first(self, worker: int) -> int:
        """The number of the first that is tied to a worker; 0: none is."""
        own = self._own.get(worker)
        return 0 if own is None else own.first.number

    def tie(self, connection: Connection, worker: int) -> None:
        """Let a connection wait for a worker, until its ``tied_until``."""
        own = self._own.get(worker)
        if own is None:
            own = self._own[worker] = InOrder()
        own.put(connection)
        self._tied[connection.number] = worker
        if connection.tied_until == NEVER:
            return
        expiries = self._expiries
        heappush(expiries, (connection.tied_until, connection.number))
        if len(expiries) > 2 * len(self._tied) + 64:  # most are of connections that have gone
            expiries[:] = {entry for entry in expiries if entry[1] in self._tied}
            heapify(expiries)

    def untie(self, worker: int) -> Connection:
        """Take out the first that is tied to a worker."""
        own = self._own[worker]
        connection = own.take()
        del self._tied[connection.number]
        if not own:
            del self._own[worker]
        return connection

    def loosen(self, worker: int) -> None:
        """Let all that are tied to a worker join again."""
        own = self._own.pop(worker, None)
        if own is None:
            return
        for connection in own:
            del self._tied[connection.number]
        joining = list(merge(self.joining, own, key=_number))
        self.joining.clear()
        self.joining.extend(joining)

    def deadline(self) -> float:
        """When the next that is tied has been so long enough."""
        expiries = self._expiries
        while expiries and expiries[0][1] not in self._tied:
            heappop(expiries)
        return expiries[0][0] if expiries else NEVER

    def expire(self, now: float) -> set[int]:
        """Open those that have been tied long enough; the workers that they were tied to."""
        workers = set()
        while self.deadline() <= now:
            number = heappop(self._expiries)[1]
            worker = self._tied[number]
            # It is the first of its queue, unless the time was another one when those before it
            # were tied: they have waited for longer than it has.
            while number in self._tied:
                self.open.put(self.untie(worker))
            workers.add(worker)
        return workers


def _number(connection: Connection) -> int:
    return connection.number
