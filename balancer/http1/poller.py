"""One epoll for all connections of a worker, and one task that empties it.

``trio.lowlevel.wait_readable`` costs about eight microseconds, a third of a small request: an
``epoll_ctl`` for every wait, because trio arms one-shot events, and the book-keeping around it.
Here a socket is registered once, at its first wait, for *edges*: the kernel speaks only when
something new has come.

A reader is woken in one of two ways.  In the middle of a request it is a task, which is
rescheduled.  Between two requests it is *parked* (``http1.inline``): a coroutine without a task,
which the leader drives in its own.

What an edge means (epoll(7), "Level-triggered and edge-triggered"):

* a read that filled its buffer may have left bytes behind, and no further edge will tell: the next
  wait must not wait;
* nor must it when somebody was told of bytes, or was about to be, and was cancelled: an edge is
  used up by a read, not by a wait;
* a short read has emptied the queue, but says nothing about the end of the stream, which makes no
  second edge when it came together with the last bytes: so EPOLLRDHUP is asked for and remembered;
* an edge may be stale, its bytes already read: then the read says EAGAIN, and one waits again.

A registration belongs to the open file description, of which the master may hold a copy, so
closing our number for it is not enough: it is always removed by hand, before the close.
"""

from __future__ import annotations

import contextvars
import select
from typing import TYPE_CHECKING, Any, final

import trio

from balancer.http1.inline import begin, carry_on, drive
from balancer.http1.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from balancer.http1.polled import PolledTransport

__all__ = ["Poller"]

if TYPE_CHECKING or hasattr(select, "epoll"):
    EDGES = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
    ENDING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
BATCH = 64


@final
class Poller:
    """Wakes the readers of its transports, once it has been started; owns the epoll.

    Args:
        send_timeout: seconds that a client has to take what it was sent.
    """

    def __init__(self, send_timeout: float = 30.0) -> None:
        self.outbox = Outbox()
        self.send_timeout = send_timeout
        self._epoll = select.epoll()
        self._transports: dict[int, PolledTransport] = {}
        self._events: list[tuple[int, int]] = []  # heard, and not passed on yet
        self._nursery: trio.Nursery
        self._clean: contextvars.Context

    @staticmethod
    def available() -> bool:
        """Whether the system has epoll; elsewhere trio's own waits do."""
        return hasattr(select, "epoll")

    def start(self, nursery: trio.Nursery) -> None:
        """Wake readers, in tasks of this nursery, until it is cancelled.

        Then the parked are closed: their coroutines end as if they had been cancelled.
        """
        self._nursery = nursery
        self._clean = contextvars.copy_context()
        nursery.start_soon(self._close_at_the_end)
        self._promote()

    def _promote(self) -> None:
        # A task begins with a copy of the context that starts it, and this may be a connection's:
        # what the app has set there (a user, say) is no business of the next one's.
        self._clean.run(self._nursery.start_soon, self._lead)

    async def _lead(self) -> None:
        events, outbox = self._events, self.outbox
        while True:
            while events:
                fd, flags = events.pop()
                transport = self._transports.get(fd)
                parked = None if transport is None else transport.edge(flags)
                if parked is None:
                    continue
                outbox.begin()
                trap = begin(parked)
                if trap is not None:
                    outbox.flush()
                    self._promote()
                    await carry_on(parked, trap)
                    return
                outbox.end(last=not events)
                if contextvars.copy_context() != self._clean:
                    # The app has left something in this task's context without ever waiting.
                    outbox.flush()
                    self._promote()
                    return
            outbox.flush()
            # the first first: a request must not overtake the end of an idle upstream's connection
            events += reversed(self._epoll.poll(0, BATCH))
            if events:  # the other tasks want their turn, too
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._epoll.fileno())

    async def _close_at_the_end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            for transport in list(self._transports.values()):
                if (coroutine := transport.unpark()) is not None:
                    coroutine.close()
            self._epoll.close()

    def resume(self, coroutine: Coroutine[Any, Any, None], error: Exception) -> None:
        """Wake what was parked with an exception, in a task of its own."""
        self._clean.run(self._nursery.start_soon, drive, coroutine, error)

    def start_soon(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run something that belongs to a connection, in a task of its own."""
        self._clean.run(self._nursery.start_soon, task)

    def add(self, fd: int, transport: PolledTransport) -> None:
        """Report edges on ``fd``, beginning with what is there already."""
        self._transports[fd] = transport
        if not self._epoll.closed:  # at the worker's end there is no news any more
            self._epoll.register(fd, EDGES)

    def remove(self, fd: int) -> None:
        """Forget ``fd``, which is still open."""
        del self._transports[fd]
        if self._events:  # the next connection may have its number
            self._events[:] = [event for event in self._events if event[0] != fd]
        if not self._epoll.closed:
            self._epoll.unregister(fd)
