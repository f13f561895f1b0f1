"""The engine's limits and clocks, and where it writes down what it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, final

from balancer.core.requestid import RequestIds

if TYPE_CHECKING:
    from balancer.core.logrecord import Sink

__all__ = ["Http1Config"]


@final
@dataclass(frozen=True, slots=True)
class Http1Config:
    """Sizes in bytes, times in seconds; the defaults are those of the reference's last column."""

    max_request_line: int = 8190
    """Longer request lines, without their CRLF, get 414."""
    max_head: int = 32768
    """Longer heads, from the request line to the blank line, get 431; so do longer trailers."""
    max_fields: int = 100
    """More header fields get 431."""
    max_body: int = 0
    """Larger bodies get 413, announced or not; 0: no limit."""
    header_timeout: float = 10.0
    """Absolute, from the first byte of a head (of a first head: from accept) to its end: 408."""
    keep_alive: float = 75.0
    """An idle connection is closed after this time without a word."""
    keep_alive_requests: int = 1000
    """The last of this many responses says ``Connection: close``."""
    body_timeout: float = 30.0
    """Without a byte of an unfinished request body for this long: 408."""
    send_timeout: float = 30.0
    """A client that takes no byte of a response for this long is aborted."""
    request_timeout: float = 0.0
    """From a request's head to the end of its response: then 504, or the connection is aborted;
    0: no limit."""
    linger: float = 2.0
    """How long we discard what a client still sends after we decided to close."""
    linger_bytes: int = 65536
    """How much of it, and the largest unread rest of a body that is discarded to keep alive."""
    drain_idle: float = 1.0
    """How long an idle connection may still bring a request once the server drains."""
    access: Sink | None = None
    """Where a record of each response goes; None: nowhere, and at no cost."""
    ids: RequestIds = field(default_factory=partial(RequestIds, ""), compare=False)
    """Whence requests have their ids."""
    harmless: int = field(init=False, repr=False, compare=False)
    """A head of this size breaks no limit, whatever is in it: a field takes four bytes."""

    def __post_init__(self) -> None:
        harmless = min(self.max_request_line, self.max_head, 4 * self.max_fields)
        object.__setattr__(self, "harmless", harmless)  # frozen, but for its own beginning
