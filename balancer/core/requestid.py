"""Which id a request has: what a trusted proxy says, or one of our own.

A proxy in front that has given the request an id has written it into its own log, so that one is
kept; anybody else could make two requests share an id, or put what he likes into a log.  Ours are a
prefix, which differs between workers and between their runs, and a count: unique without asking
the kernel for randomness once per request.
"""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from balancer.core.forwarded import Trusted

__all__ = ["HEADER", "RequestIds"]

HEADER = b"x-request-id"
# a token of RFC 9110 5.6.2: no quotes, no blanks, nothing that a log or a shell could stumble over
WELL_FORMED = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}").fullmatch
NONE = frozenset({"", "-"})


@final
class RequestIds:
    """Ids for the requests of one worker.

    Args:
        prefix: What makes this worker's ids its own.
        trusted: The peers that may say what a request's id is.
    """

    __slots__ = ("_count", "_prefix", "_trusted")

    def __init__(self, prefix: str, trusted: Trusted = frozenset()) -> None:
        self._prefix = prefix
        self._trusted = trusted
        self._count = count(1)  # whose next() is one step, for the threads of a WSGI app

    def next(self) -> str:
        """An id that no request has had."""
        return f"{self._prefix}{next(self._count):x}"

    def choose(self, said: str, peer: str | None) -> str:
        """A request's id.

        Args:
            said: The request's X-Request-ID; a dash, or nothing, if it has none.
            peer: The host at the other end of the connection; None: a UNIX socket.
        """
        if said not in NONE and peer in self._trusted and WELL_FORMED(said):
            return said
        return self.next()
