"""Whether a request whose attempt failed may be tried again.

A retry must never do twice what the client asked for once.  So it depends on what went wrong, on
the method, and on what has been sent (RFC 9110 9.2.2, RFC 9112 9.3.1):

* nothing was connected: nothing can have been done; always, unless it is we who are short of
  descriptors or ports: then it would fail again;
* a connection that had been idle broke before the first byte of a response: the race with an
  upstream that closes idle connections; if the method may be repeated;
* a new connection broke before the first byte: the upstream died or was reset; likewise;
* no answer in time, or a malformed one: never.  The upstream may be working on it still.

And only if what was sent of the body can be sent again, and only within a budget: when everything
fails, retries would multiply the load that made it fail.  The budget is a share of the requests of
the last seconds, and not of those in progress: an upstream that is killed leaves all of its
requests to be repeated at the same moment, which is what retries are for (Finagle's and Linkerd's
budget; Envoy's looks at requests in progress, and gives most of such a burst up).  What found no
connection has cost nobody anything, and is repeated without it: else a server that is away, and
can't be ejected because another one is, would use it all up.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import final

__all__ = ["IDEMPOTENT", "Failure", "RetryBudget", "costs", "may_retry", "status_of"]

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110 9.2.2."""
WINDOW = 10.0
"""Seconds of which the budget is a share."""
LEAST_BUDGET = 32
"""Retries in the window that are always allowed, so that a quiet proxy can retry at all."""


class Failure(Enum):
    """What went wrong with one attempt."""

    CONNECT = "no connection"
    SHORTAGE = "nothing is left here to make a connection with"
    STALE = "a connection that had been idle broke before a response came"
    BROKEN = "the connection broke before a response came"
    TRUNCATED = "the connection broke inside of the response"
    TIMEOUT = "no response came in time"
    MALFORMED = "what came is no valid response"


STATUS = {
    Failure.CONNECT: 502,
    Failure.SHORTAGE: 503,
    Failure.STALE: 502,
    Failure.BROKEN: 502,
    Failure.TRUNCATED: 502,
    Failure.TIMEOUT: 504,
    Failure.MALFORMED: 502,
}


def status_of(failure: Failure) -> int:
    """The status for a client whose request failed for good (RFC 9110 15.6.3 to 15.6.5)."""
    return STATUS[failure]


def may_retry(failure: Failure, *, idempotent: bool, replayable: bool) -> bool:
    """Whether another attempt would be safe.

    Args:
        failure: What went wrong.
        idempotent: The method may be repeated.
        replayable: What was read of the request's body is still there.
    """
    if not replayable:
        return False
    if failure is Failure.CONNECT:
        return True
    return idempotent and failure in {Failure.STALE, Failure.BROKEN}


def costs(failure: Failure) -> bool:
    """Whether a retry after it has to be in the budget: an upstream may have worked in vain."""
    return failure is not Failure.CONNECT


@final
class RetryBudget:
    """Whether there may be one more retry.

    It lives on sums that only grow, so that every worker can have the same one: what all of them
    together have spent.

    Args:
        percent: The share of the window's requests that may be retries; 0: there are none.
        requests: The sum so far, of which nothing is known but that it is past.
        retries: Likewise.
    """

    __slots__ = ("_percent", "_samples")

    def __init__(self, percent: float, requests: int = 0, retries: int = 0) -> None:
        self._percent = percent
        self._samples: deque[tuple[float, int, int]] = deque([(float("-inf"), requests, retries)])

    def note(self, now: float, requests: int, retries: int) -> None:
        """So many there have been until ``now``; to be called a few times per second."""
        samples = self._samples
        samples.append((now, requests, retries))
        while len(samples) > 1 and samples[1][0] <= now - WINDOW:
            samples.popleft()

    def allows(self, requests: int, retries: int) -> bool:
        """Whether one more is allowed, when there have been so many until now."""
        if not self._percent:
            return False
        _, before, retries_before = self._samples[0]
        most = max(LEAST_BUDGET, (requests - before) * self._percent / 100)
        return retries - retries_before < most
