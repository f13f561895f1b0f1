"""What Node does, as short as it can be written: the oracle for the scheduler's tests.

Written from the transition table of the reference (one free list, one queue, one un-acked
connection per worker, a refused connection goes back), for one listening key.
"""

from __future__ import annotations

from collections import deque


class NodeRoundRobin:
    def __init__(self) -> None:
        self.all: set[int] = set()
        self.free: deque[int] = deque()
        self.queue: deque[int] = deque()
        self.sent: list[tuple[int, int]] = []  # (connection, worker), in the order of sending

    def listen(self, worker: int) -> None:
        self.all.add(worker)
        self._handoff(worker)

    def accept(self, connection: int) -> None:
        self.queue.append(connection)
        if self.free:
            self._handoff(self.free.popleft())

    def ack(self, worker: int) -> None:
        self._handoff(worker)

    def remove(self, worker: int) -> None:
        self.all.discard(worker)
        if worker in self.free:
            self.free.remove(worker)

    def _handoff(self, worker: int) -> None:
        if worker not in self.all:
            return
        if self.queue:
            self.sent.append((self.queue.popleft(), worker))
        else:
            self.free.append(worker)
