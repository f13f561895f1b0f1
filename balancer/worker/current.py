"""The worker that this process is, for the app in it: Node's ``cluster.worker``.

``current_worker()`` works wherever the app's code runs, from its import on.  What talks to the
master must be called in the worker's own event loop, trio's or asyncio's; messages, whose waiting
is trio's, are for the trio engine alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, final

import trio

from balancer.core.messages import Leaving, ProtocolError
from balancer.errors import InWorkerError, RunError, UsageError
from balancer.net.feeds import Feed
from balancer.net.mailbox import descriptor, open_sockets

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    from balancer.core.messages import Spawn, WorkerMessage
    from balancer.net.feeds import Subscription
    from balancer.net.mailbox import Mailbox, Sendable

    Say = Callable[[WorkerMessage], Awaitable[object] | None]
    """Sends the master a message; what it returns, if anything, is to be awaited."""

__all__ = [
    "CurrentWorker",
    "Mail",
    "become",
    "current_worker",
    "forbid_servers",
    "refuse_in_worker",
]

logger = logging.getLogger("balancer")

SEND_PATIENCE = 30.0
"""Seconds that a message waits for the master to read the ones before."""


@final
@dataclass(frozen=True, slots=True)
class Mail:
    """A message from the master; its sockets are the reader's to close."""

    data: object
    sockets: tuple[socket.socket, ...] = ()
    size: int = 0

    def copy(self) -> Mail:
        """The same for one more reader."""
        return Mail(self.data, tuple(each.dup() for each in self.sockets), self.size)

    def drop(self) -> None:
        """Nobody will read it."""
        for each in self.sockets:
            each.close()


class Lanes(Protocol):
    """What a worker's receiver is asked for."""

    def close_lane(self, lane: int) -> None: ...

    def open_lane(self, lane: int) -> None: ...


@final
class CurrentWorker:
    """What the app can know of its worker, and do with it."""

    is_worker = True

    def __init__(self, spawn: Spawn, mailbox: Mailbox | None, *, on_trio: bool = True) -> None:
        self.id = spawn.worker
        self.slot = spawn.slot
        self._addresses = spawn.addresses
        self._mailbox = mailbox
        self._feed: Feed[Mail] = Feed()
        self._on_trio = on_trio
        self._say: Say | None = None
        self._receiver: Lanes
        self._by_kernel: frozenset[int] = frozenset()

    def __repr__(self) -> str:
        return f"<worker {self.id} (slot {self.slot})>"

    @property
    def addresses(self) -> tuple[str, ...]:
        """What the server listens on, one for each listener."""
        return tuple(each for each in self._addresses if each)  # "": a lane of other workers

    async def send(
        self, data: object, sockets: Sequence[Sendable] = (), *, seconds: float = SEND_PATIENCE
    ) -> bool:
        """Send the master anything that msgspec can encode, and perhaps sockets.

        True when it is on its way.  False when the master is gone, has no ears (it isn't a program
        with ``open_cluster``), or hasn't read what was sent before for so many seconds.  Sockets
        stay the caller's, and must stay open until this returns.

        Raises:
            TypeError, ValueError: this can't be sent.
            RunError: the engine isn't trio.
        """
        self._need_trio()
        self._ask()
        if self._mailbox is None:
            await trio.lowlevel.checkpoint()
            return False
        return await self._mailbox.send(
            data, [descriptor(each) for each in sockets], seconds=seconds
        )

    def messages(self) -> Subscription[Mail]:
        """What the master sends, from now on: ``async for mail in current_worker().messages()``.

        Each call is a subscription of its own and gets everything; the first also gets what came
        before it.  While 16 MiB are unread, nothing more is read, and the master's ``send`` waits.

        Raises:
            RunError: the engine isn't trio.
        """
        self._need_trio()
        return self._feed.subscribe()

    async def disconnect(self) -> None:
        """Ask to leave: no new connections, finish those there are, exit with 0.

        Returns when the master has been asked; what runs goes on.  Where the master respawns, a
        successor comes.
        """
        sent = self._ask()(Leaving("disconnect"))
        if sent is not None:
            await sent

    def close(self, address: str) -> None:
        """Take no more connections of one of the ``addresses``; the others go on.

        What the master was just handing over goes to another worker.  The port stays open: it is
        the master's, and while no worker listens, connections wait.

        Raises:
            UsageError: the server doesn't listen on it.
            RunError: under the kernel's policies nothing can be given back.
        """
        self._lanes(address, close=True)

    def listen(self, address: str) -> None:
        """Take connections of an address again, at the end of the rotation; as ``close``."""
        self._lanes(address, close=False)

    def _lanes(self, address: str, *, close: bool) -> None:
        self._ask()
        wanted = address.removeprefix("http://")
        lanes = [
            lane for lane, own in enumerate(self._addresses)
            if own.removeprefix("http://") == wanted
        ]  # fmt: skip
        if not lanes:
            raise UsageError(
                f"{address}: this server doesn't listen there, but on {', '.join(self.addresses)}"
            )
        for lane in lanes:
            if lane in self._by_kernel:
                raise RunError(f"{address}: the kernel hands out its connections, not the master")
            if close:
                self._receiver.close_lane(lane)
            else:
                self._receiver.open_lane(lane)

    def _ask(self) -> Say:
        if self._say is None:
            raise RunError("the worker doesn't run yet")
        return self._say

    def _need_trio(self) -> None:
        if not self._on_trio:
            raise RunError(
                "messages need the trio engine; --engine uvicorn neither sends nor receives any"
            )

    # -- for the worker's shell ---------------------------------------------------------------

    def attach(self, say: Say, receiver: Lanes, by_kernel: frozenset[int]) -> None:
        """The worker is there; the lanes ``by_kernel`` it accepts from by itself."""
        self._say, self._receiver, self._by_kernel = say, receiver, by_kernel

    async def read_mail(self) -> None:
        """Read what the master sends, until it is gone."""
        try:
            while self._mailbox is not None:
                await self._feed.room()
                parcel = await self._mailbox.receive()
                if parcel.batch.lost:
                    logger.warning("no file descriptors left for the sockets of a message")
                self._feed.put(Mail(parcel.data, open_sockets(parcel.batch.fds), parcel.size))
        except trio.EndOfChannel:
            pass
        except ProtocolError as error:
            logger.error("the master sent what is no message: %s", error)
        self._feed.close()


_current: CurrentWorker | None = None
_importing = False


def current_worker() -> CurrentWorker | None:
    """The worker that this process is; None in the master, and everywhere else."""
    return _current


def become(spawn: Spawn, mailbox: Mailbox | None, *, on_trio: bool = True) -> CurrentWorker:
    """From now on this process is a worker."""
    global _current
    _current = CurrentWorker(spawn, mailbox, on_trio=on_trio)
    forbid_servers()
    return _current


def forbid_servers() -> None:
    """From now on this process imports apps: what starts a server in them is a mistake."""
    global _importing
    _importing = True


def refuse_in_worker(what: str) -> None:
    """InWorkerError when this process is a worker, or about to become some."""
    if _importing:
        raise InWorkerError(what)
