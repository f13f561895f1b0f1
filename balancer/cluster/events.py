"""What happens in a cluster, as objects: Node's events of ``cluster``.

For every worker, in this order: ``Fork``; ``Online`` (its process exists); ``Listening``, once for
each address; ``Message``s; then always one ``Disconnect`` (it can't be spoken to any more) and one
``Exit``.  A worker that fails early leaves out what it never came to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    import signal as signals
    import socket

    from balancer.cluster.worker import Worker

__all__ = [
    "Address",
    "Disconnect",
    "Event",
    "Exit",
    "Fork",
    "Listening",
    "Message",
    "Online",
]


@final
@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: a host and the real port, or the path of a UNIX socket."""

    host: str | None = None
    port: int | None = None
    path: str | None = None

    def __str__(self) -> str:
        """As ``bind`` takes it."""
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a worker."""

    worker: Worker

    @property
    def size(self) -> int:
        """Bytes, for the feed."""
        return 0

    def copy(self) -> Event:
        """The same for one more reader."""
        return self

    def drop(self) -> None:
        """Nobody will read it."""


@final
@dataclass(frozen=True, slots=True)
class Fork(Event):
    """It was decided to start a worker."""


@final
@dataclass(frozen=True, slots=True)
class Online(Event):
    """A worker's process exists."""


@final
@dataclass(frozen=True, slots=True)
class Listening(Event):
    """A worker takes connections of an address."""

    address: Address


@final
@dataclass(frozen=True, slots=True)
class Message(Event):
    """A worker has sent something; the sockets are the reader's to close."""

    data: object
    sockets: tuple[socket.socket, ...] = ()
    length: int = 0  # in bytes, as it was sent

    @property
    def size(self) -> int:
        """Bytes, for the feed."""
        return self.length

    def copy(self) -> Message:
        """With sockets of its own."""
        copies = tuple(each.dup() for each in self.sockets)
        return Message(self.worker, self.data, copies, self.length)

    def drop(self) -> None:
        """Close its sockets."""
        for each in self.sockets:
            each.close()


@final
@dataclass(frozen=True, slots=True)
class Disconnect(Event):
    """A worker can't be spoken to any more: it is leaving, or dead."""


@final
@dataclass(frozen=True, slots=True)
class Exit(Event):
    """A worker has ended: by an exit code or by a signal.

    Neither is known where its fork server had died before it.  ``exited_after_disconnect``: it was
    told to leave, or had asked to.
    """

    code: int | None
    signal: signals.Signals | None
    exited_after_disconnect: bool
