"""One source, any number of readers, each at its own pace.

A *feed* keeps a queue per *subscription*.  Putting something in never waits.  What may become too
much is held back at its source instead: whoever puts in things that cost memory asks ``room`` first
and waits there until every reader has caught up.  So a slow reader slows down who speaks to it, and
nobody else.

Before anybody has subscribed the last ``KEPT`` items (of ``ENOUGH`` bytes at most) are kept for the
first who does, so that nothing of the start is missed; nobody waits then, and what is pushed out is
let go.  A subscription
that is forgotten (a loop left by ``break``) ends when it is collected.

Sockets in an item belong to who reads it.  The second and every later reader gets duplicates.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = ["ENOUGH", "KEPT", "Feed", "Item", "Subscription"]

ENOUGH = 16 * 1024 * 1024
"""Bytes unread at which ``room`` begins to wait."""
KEPT = 1024
"""Items kept for the first subscription."""


class Item(Protocol):
    """What a feed carries."""

    @property
    def size(self) -> int:
        """What it costs, in bytes; 0 where that is nothing to speak of."""

    def copy(self) -> Self:
        """The same for one more reader, with sockets of its own."""

    def drop(self) -> None:
        """Nobody will read it: close its sockets."""


_T = TypeVar("_T", bound=Item)


@final
class Subscription(Generic[_T]):
    """What one reader has not read yet: an asynchronous iterator that ends with its feed."""

    def __init__(self, left: Callable[[], None]) -> None:
        self._queue: deque[_T] = deque()
        self._size = 0
        self._left = left
        self._ended = False
        self._news = trio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        """The next item."""
        await trio.lowlevel.checkpoint()
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            if self._news.is_set():  # else somebody else waits for it already
                self._news = trio.Event()
            await self._news.wait()
        return self._take()

    async def receive(self) -> _T:
        """The next item; ``trio.EndOfChannel`` when there will be none any more."""
        try:
            return await anext(self)
        except StopAsyncIteration:
            raise trio.EndOfChannel from None

    def close(self) -> None:
        """Read no more; idempotent."""
        while self._queue:
            self._take().drop()
        self._end()

    def __del__(self) -> None:
        while self._queue:
            self._queue.popleft().drop()

    @property
    def unread(self) -> int:
        """How much waits for this reader, in bytes."""
        return self._size

    def _put(self, item: _T) -> None:
        self._queue.append(item)
        self._size += item.size
        self._news.set()

    def _take(self) -> _T:
        item = self._queue.popleft()
        self._size -= item.size
        self._left()
        return item

    def _end(self) -> None:
        self._ended = True
        self._news.set()


@final
class Feed(Generic[_T]):
    """The source's side."""

    def __init__(self) -> None:
        self._readers: list[weakref.ref[Subscription[_T]]] = []
        self._kept: deque[_T] | None = deque()  # None once somebody has subscribed
        self._kept_size = 0
        self._closed = False
        self._moved = trio.Event()

    def subscribe(self) -> Subscription[_T]:
        """Read what comes from now on; the first also gets what came before."""
        reader = Subscription[_T](self._wake)
        for item in self._kept or ():
            reader._put(item)
        self._kept = None
        if self._closed:
            reader._end()
        else:
            self._readers.append(weakref.ref(reader, self._forget))
        return reader

    def put(self, item: _T) -> None:
        """Give an item to every reader; ignored, and its sockets closed, after ``close``."""
        readers = self._open_readers()
        if self._closed or (self._kept is None and not readers):
            item.drop()
        elif self._kept is not None:
            self._kept.append(item)
            self._kept_size += item.size
            while len(self._kept) > KEPT or self._kept_size > ENOUGH:
                pushed_out = self._kept.popleft()
                self._kept_size -= pushed_out.size
                pushed_out.drop()
        else:
            for reader in readers[1:]:
                reader._put(item.copy())
            readers[0]._put(item)

    async def room(self) -> None:
        """Wait while a reader has ``ENOUGH`` unread."""
        while any(reader.unread >= ENOUGH for reader in self._open_readers()):
            if self._moved.is_set():
                self._moved = trio.Event()
            await self._moved.wait()

    def close(self) -> None:
        """There will be nothing more; readers still get what they have.  Idempotent."""
        self._closed = True
        for reader in self._open_readers():
            reader._end()
        self._readers.clear()
        while self._kept:
            self._kept.popleft().drop()
        self._wake()

    def _open_readers(self) -> list[Subscription[_T]]:
        found = [reader for ref in self._readers if (reader := ref()) is not None]
        return [reader for reader in found if not reader._ended]

    def _forget(self, gone: weakref.ref[Subscription[_T]]) -> None:
        if gone in self._readers:
            self._readers.remove(gone)
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
