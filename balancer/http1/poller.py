"""One epoll for all idle connections of a worker, and one task that empties it.

``trio.lowlevel.wait_readable`` costs about eight microseconds, a third of a small request: an
``epoll_ctl`` for every wait, because trio arms one-shot events, and the book-keeping around it.
Here a socket is registered once, at its first wait, for *edges*: the kernel speaks only when
something new has come.  A waiting task is woken directly.

What an edge means (epoll(7), "Level-triggered and edge-triggered"):

* a read that filled its buffer may have left bytes behind, and no further edge will tell: the next
  wait must not wait;
* a short read has emptied the queue, but says nothing about the end of the stream, which makes no
  second edge when it came together with the last bytes: so EPOLLRDHUP is asked for and remembered;
* an edge may be stale, its bytes already read: then the read says EAGAIN, and one waits again.

A registration belongs to the open file description, of which the master may hold a copy, so
closing our number for it is not enough: it is always removed by hand, before the close.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, final

import trio
from outcome import Error

from balancer.http1.transport import SocketTransport

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable

__all__ = ["PolledTransport", "Poller"]

if TYPE_CHECKING or hasattr(select, "epoll"):
    EDGES = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
    ENDING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
BATCH = 256


@final
class Poller:
    """Wakes the readers of its transports.  ``run`` must be running while they wait."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._transports: dict[int, PolledTransport] = {}

    @staticmethod
    def available() -> bool:
        """Whether the system has epoll; elsewhere trio's own waits do."""
        return hasattr(select, "epoll")

    async def run(self) -> None:
        """Wake readers, until cancelled; then close the epoll."""
        epoll = self._epoll
        transports = self._transports
        try:
            while True:
                events = epoll.poll(0, BATCH)
                for fd, flags in events:
                    transports[fd].edge(flags)
                if events:  # let them run, then look for more before going to sleep
                    await trio.lowlevel.checkpoint()
                else:
                    await trio.lowlevel.wait_readable(epoll.fileno())
        finally:
            epoll.close()

    def add(self, fd: int, transport: PolledTransport) -> None:
        """Report edges on ``fd``, beginning with what is there already."""
        self._transports[fd] = transport
        self._epoll.register(fd, EDGES)

    def remove(self, fd: int) -> None:
        """Forget ``fd``, which is still open."""
        del self._transports[fd]
        if not self._epoll.closed:
            self._epoll.unregister(fd)


@final
class PolledTransport(SocketTransport):
    """A socket whose reader is woken by a ``Poller``; its writer waits with trio."""

    __slots__ = ("_ended", "_poller", "_reader", "_registered")

    def __init__(self, sock: socket.SocketType, poller: Poller) -> None:
        super().__init__(sock)
        self._poller = poller
        self._registered = False
        self._reader: trio.lowlevel.Task | None = None
        self._ended = False

    def wait_readable(self) -> Awaitable[None]:
        # No coroutine of our own around trio's: this is once per request.
        if self._ready:
            self._ready = self._ended
            return trio.lowlevel.checkpoint()  # noqa: ASYNC105
        if self._reader is not None:
            raise trio.BusyResourceError("another task is already reading this connection")
        if not self._registered:
            self._poller.add(self._fd, self)
            self._registered = True
        self._reader = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._forget)  # noqa: ASYNC105

    def edge(self, flags: int) -> None:
        """The kernel's news: wake the reader, or remember it for the next one."""
        if flags & ENDING:
            self._ended = True
        reader, self._reader = self._reader, None
        self._ready = self._ended or reader is None
        if reader is not None:
            trio.lowlevel.reschedule(reader)

    def interrupt(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            trio.lowlevel.reschedule(reader, Error(trio.ClosedResourceError("interrupted")))
        super().interrupt()

    def close(self) -> None:
        if self._registered:
            self._registered = False
            self._poller.remove(self._fd)
        super().close()

    def abort(self) -> None:
        if self._fd >= 0:
            self.interrupt()
        super().abort()

    def _forget(self, _: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED
