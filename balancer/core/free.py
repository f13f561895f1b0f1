"""The free workers of a lane, and which of them gets its next connection: the policy alone.

Node's rule is this and nothing more: whoever is next gets the next.  ``lead`` has the other ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

from balancer.core.books import NEVER

if TYPE_CHECKING:
    from balancer.core.books import Connection, WorkerBook
    from balancer.core.policy import Policy

__all__ = ["AtOnce", "Free"]


class Free(Protocol):
    """Those of a lane's workers that can take a connection.

    ``uses_load`` says that loads must be observed, ``uses_key`` that connections need keys.
    ``due`` is until when none of them gets anything although there is a queue, if nothing happens;
    NEVER, where that isn't so.
    """

    due: float

    @property
    def uses_load(self) -> bool: ...

    @property
    def uses_key(self) -> bool: ...

    def __len__(self) -> int:
        """How many could take a connection, those that wait for others among them."""

    def offer(self, book: WorkerBook) -> None:
        """A worker can take a connection (again), or its load has changed."""

    def withdraw(self, worker: int) -> None:
        """A worker can't take connections now."""

    def loosen(self, worker: int) -> None:
        """Nobody needs to wait for a worker any more, which will take nothing for a while."""

    def forget(self, worker: int) -> None:
        """A worker is gone for good."""

    def enter(self, book: WorkerBook) -> None:
        """A worker comes (back): it owes nobody what it didn't get meanwhile."""

    def pick(self, connection: Connection, queued: int, now: float) -> int | None:
        """Who gets this connection, the first of those that are queued; None when nobody should."""

    def returned(self, book: WorkerBook) -> None:
        """A worker didn't take what it was handed."""

    def expire(self, now: float) -> None:
        """What was waited for may have come to its end: the next ``pick`` will see."""


@final
class AtOnce:
    """Nobody waits for others."""

    __slots__ = ("_policy", "due")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.due = NEVER

    @property
    def uses_load(self) -> bool:
        return self._policy.uses_load

    @property
    def uses_key(self) -> bool:
        return self._policy.uses_key

    def __len__(self) -> int:
        return len(self._policy)

    def offer(self, book: WorkerBook) -> None:
        self._policy.offer(book.id, book.load, book.weight)

    def withdraw(self, worker: int) -> None:
        self._policy.withdraw(worker)

    def loosen(self, worker: int) -> None:
        pass

    def forget(self, worker: int) -> None:
        self._policy.forget(worker)

    def enter(self, book: WorkerBook) -> None:
        pass

    def pick(self, connection: Connection, queued: int, now: float) -> int | None:  # noqa: ARG002
        return self._policy.pick(connection.key)

    def returned(self, book: WorkerBook) -> None:
        pass

    def expire(self, now: float) -> None:
        pass
