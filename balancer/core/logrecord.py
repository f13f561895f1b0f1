"""What an engine tells the access log.  Pure.

A record holds references and is cheap to make; what they refer to is asked when its line is made.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Protocol, final

from balancer.core.logescape import escape

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ABORTED", "BATCH", "CLOSED", "KEPT", "NOTHING", "Answer", "Peer", "PlainAnswer",
    "PlainRequest", "Record", "Request", "Sink",
]  # fmt: skip

Peer = tuple[str, int] | str | None
"""Host and port; the path of a Unix socket; None when there is none, or it is gone."""

NOTHING = "-"
KEPT, CLOSED, ABORTED = "+", "-", "X"
"""How a response ended (Apache's %X): the connection stays, it is closed, or it broke off."""
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class Request(Protocol):
    """What a line tells of a request; ``http1.Head`` is one."""

    @property
    def method(self) -> str:
        """As sent: a token."""

    @property
    def target(self) -> bytes:
        """As sent."""

    @property
    def origin(self) -> bytes:
        """Path and query of the target."""

    @property
    def http_version(self) -> str:
        """ "1.0" or "1.1"."""

    @property
    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        """In order, names in lower case."""

    def pick(self, names: tuple[bytes, ...]) -> tuple[str, ...]:
        """The last value of each field, or a dash; names in lower case.

        Without control characters, but perhaps tabs.
        """


@final
class PlainRequest:
    """A ``Request`` for servers that have none of their own.

    Args:
        method: As sent: a token.
        target: A path, and perhaps a query; what may not be in one is written as %XX.
        http_version: "1.0" or "1.1".
        headers: Names in lower case.
    """

    __slots__ = ("headers", "http_version", "method", "target")

    def __init__(
        self, method: str, target: bytes, http_version: str, headers: list[tuple[bytes, bytes]]
    ) -> None:
        self.method = method
        self.target = CONTROL.sub(lambda match: b"%%%02X" % match[0][0], target)
        self.http_version = http_version
        self.headers = headers

    @property
    def origin(self) -> bytes:
        """The same as the target."""
        return self.target

    def pick(self, names: tuple[bytes, ...]) -> tuple[str, ...]:
        """As in ``Request``."""
        found = dict(self.headers)
        return tuple([escape(found[name]) if name in found else NOTHING for name in names])


class Answer(Protocol):
    """What a line tells of the response, asked when the line is made."""

    @property
    def status(self) -> int:
        """What was sent; 0: nothing was."""

    @property
    def body_bytes(self) -> int:
        """Bytes of the body, without framing."""

    @property
    def request_id(self) -> str:
        """The request's id; "": it has none yet."""

    @property
    def sent_head(self) -> bytes:
        """The head as sent, where the format asks for it (``Sink.wants_heads``)."""


@final
class PlainAnswer(NamedTuple):
    """An ``Answer`` that is known when the record is made."""

    status: int
    body_bytes: int
    request_id: str = ""
    sent_head: bytes = b""


@final
class Record(NamedTuple):
    """One response, or what came instead."""

    request: Request | None
    """None: it was refused before it was understood."""
    answer: Answer
    seconds: float
    """From the end of the request's head to the end of the response."""
    ended: float
    """When, in seconds of the clock that ``Constants.stamp`` knows."""
    peer: Peer
    """The other end of the connection."""
    end: str = CLOSED
    """``KEPT``, ``CLOSED`` or ``ABORTED``."""


class Sink(Protocol):
    """Where records go.

    Who is in a hurry appends to ``records`` and calls ``flush`` when there are ``BATCH``; ``add``
    is the same for everybody else.
    """

    @property
    def records(self) -> list[Record]:
        """Those that have no line yet; always the same list."""

    @property
    def wants_heads(self) -> bool:
        """Whether answers should have their ``sent_head``."""

    def add(self, record: Record) -> None:
        """Take one more; raises nothing."""

    def flush(self) -> None:
        """Make lines of the records and write them; raises nothing and never waits."""


BATCH = 128
"""Records, some 300 microseconds' work: more would hold up the loop, and fewer cost more."""
