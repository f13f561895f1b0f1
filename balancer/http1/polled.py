"""A connection's socket whose reader is woken by the worker's one epoll (``http1.poller``).

Its writer waits with trio: writers seldom wait.  An answer behind which the connection is idle may
be *held* until the leader has driven the others too (``http1.outbox``).  What is held goes first,
whatever is sent next; what the kernel doesn't take of it is followed up by a task, while the
connection is parked already, and its next send finds the socket full until that is done.  Until
then its client isn't idle, and whoever closes the connection waits for that first.
"""

from __future__ import annotations

import types
from contextlib import suppress
from typing import TYPE_CHECKING, Any, final

import trio
from outcome import Error

from balancer.http1.errors import ClientGone
from balancer.http1.poller import ENDING
from balancer.http1.transport import SocketTransport

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    from balancer.http1.poller import Poller

__all__ = ["PolledTransport"]


@final
class PolledTransport(SocketTransport):
    """A socket whose reader is woken by a ``Poller``; owns the socket.

    It is the ``Park`` of its connection, which has to be driven by ``http1.inline`` then.
    """

    __slots__ = (
        "_coroutine",
        "_eof_due",
        "_followed_up",
        "_held",
        "_outbox",
        "_poller",
        "_reader",
        "_registered",
        "_watcher",
    )

    is_park = True

    def __init__(self, sock: socket.SocketType, poller: Poller) -> None:
        super().__init__(sock)
        self._poller = poller
        self._outbox = poller.outbox
        self._held = b""
        self._followed_up: trio.Event | None = None
        """Set at the end of the task that sends what the kernel didn't take at once."""
        self._eof_due = False
        self._registered = False
        self._reader: trio.lowlevel.Task | None = None
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._watcher: Callable[[], None] | None = None

    def wait_readable(self) -> Awaitable[None]:
        # No coroutine of our own around trio's: this is once per request.
        if self._ready:  # and still if this is cancelled: nobody has read yet
            return trio.lowlevel.checkpoint()  # noqa: ASYNC105 - a frame less
        if self._reader is not None:
            raise trio.BusyResourceError("another task is already reading this connection")
        self._register()
        self._reader = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._forget)  # noqa: ASYNC105 - a frame less

    @types.coroutine
    def wait_request(self) -> Generator[Any, Any, None]:
        if not self._ready:
            self._register()
            yield self

    def _register(self) -> None:
        if not self._registered:
            if self._fd < 0:  # who followed up gave up, and the reader was not to blame
                raise ClientGone("the client does not read")
            self._poller.add(self._fd, self)
            self._registered = True

    def keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine

    def unpark(self) -> Coroutine[Any, Any, None] | None:
        """The coroutine that was kept, if one was; it is the caller's to drive or close."""
        coroutine, self._coroutine = self._coroutine, None
        return coroutine

    def edge(self, flags: int) -> Coroutine[Any, Any, None] | None:
        """The kernel's news: wake the reader, or remember it for the next one.

        Returns the coroutine to drive, where it was parked.
        """
        if flags & ENDING:
            self._ended = True
        self._ready = True  # until somebody has read: who is woken may be cancelled before that
        parked = self._coroutine
        if parked is not None:
            self._coroutine = None
            return parked
        reader, self._reader = self._reader, None
        if reader is not None:
            trio.lowlevel.reschedule(reader)
        elif self._watcher is not None:
            self._watcher()
        return None

    def watch(self, watcher: Callable[[], None] | None) -> None:
        """Call somebody at every edge that nobody waits for; None: nobody any more."""
        self._watcher = watcher
        if watcher is not None:
            self._register()

    # -- sending ------------------------------------------------------------------------------

    def post_nowait(self, data: bytes) -> int:
        if self._outbox.collecting and not self._held:
            self._held = data
            self._outbox.add(self)
            return len(data)
        return self.send_nowait(data)

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self._held and not self._send_held():
            return 0
        return super().send_nowait(data)

    def send_last_nowait(self, data: bytes) -> int:
        if self._held and not self._send_held():
            return 0
        return super().send_last_nowait(data)

    def wait_writable(self) -> Awaitable[None]:
        # trio has room for one who waits, and what is held goes first
        if (followed_up := self._follow()) is not None:
            return followed_up.wait()
        return super().wait_writable()

    async def wait_posted(self) -> None:
        if (followed_up := self._follow()) is not None:
            await followed_up.wait()

    def release(self) -> None:
        """As in ``Sender``: nobody waits for this send, so nobody is told when it fails.

        The reader is: a broken connection makes an edge.
        """
        held = self._held
        if held and self._fd >= 0 and self._followed_up is None:
            self._held = b""  # gone, too, when this fails
            try:  # without the three calls of ``suppress``: this is once per response
                sent = SocketTransport.send_nowait(self, held)
            except ClientGone:
                sent = len(held)
            if sent != len(held):
                self._held = held[sent:]
                self._follow()
            elif self._eof_due:
                self.send_eof()

    def _follow(self) -> trio.Event | None:
        """Have somebody see to what is held, if anything is; the end of that."""
        if self._held and self._followed_up is None:
            self._followed_up = trio.Event()
            self._poller.start_soon(self._follow_up)
        return self._followed_up

    def _send_held(self) -> bool:
        """Whether nothing is held any more."""
        if self._followed_up is None:
            held, self._held = self._held, b""
            self._held = held[super().send_nowait(held) :]
        return not self._held

    async def _follow_up(self) -> None:
        assert self._followed_up is not None
        with suppress(ClientGone):
            await self._send_rest_of_held()
        self._followed_up.set()
        self._followed_up = None
        if self._held:
            self.abort()
        elif self._eof_due:
            self.send_eof()

    async def _send_rest_of_held(self) -> None:
        timeout = self._poller.send_timeout
        with trio.move_on_after(timeout) as scope:
            while self._held and self._fd >= 0:
                # Interrupted is the reader, whose deadline has passed, and not this.
                with suppress(trio.ClosedResourceError):
                    await super().wait_writable()
                if self._fd >= 0 and (sent := super().send_nowait(self._held)):
                    self._held = self._held[sent:]
                    scope.deadline = trio.current_time() + timeout

    # -- ending -------------------------------------------------------------------------------

    def interrupt(self) -> None:
        # A client that is still being answered isn't idle: its time begins when it has it all.
        if self._coroutine is None or self._followed_up is None:
            self._wake()

    def _wake(self) -> None:
        coroutine = self.unpark()
        if coroutine is not None:
            self._poller.resume(coroutine, trio.ClosedResourceError("interrupted"))
            return
        reader, self._reader = self._reader, None
        if reader is not None:
            trio.lowlevel.reschedule(reader, Error(trio.ClosedResourceError("interrupted")))
        super().interrupt()

    def send_eof(self) -> None:
        with suppress(ClientGone):
            if self._held and not self._send_held():
                self._eof_due = True
                return
        super().send_eof()

    def close(self) -> None:
        if self._fd < 0:
            return
        if self._held and not self._held_is_sent():
            self.abort()
            return
        self._unregister()
        super().close()

    def abort(self) -> None:
        if self._fd < 0:
            return
        self._held = b""
        self._wake()
        self._unregister()
        super().abort()

    def _held_is_sent(self) -> bool:
        try:
            return self._send_held()
        except ClientGone:
            return False

    def _unregister(self) -> None:
        if self._registered:
            self._registered = False
            self._poller.remove(self._fd)

    def _forget(self, _: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED
