"""Whether a request whose attempt failed may be tried again.

A retry must never do twice what the client asked for once.  So it depends on what went wrong, on
the method, and on what has been sent (RFC 9110 9.2.2, RFC 9112 9.3.1):

* nothing was connected: nothing can have been done; always;
* a connection that had been idle broke before the first byte of a response: the race with an
  upstream that closes idle connections; if the method may be repeated;
* a new connection broke before the first byte: the upstream died or was reset; likewise;
* no answer in time, or a malformed one: never.  The upstream may be working on it still.

And only if what was sent of the body can be sent again, and only within a budget: when everything
fails, retries would multiply the load that made it fail (Envoy's retry budget: a share of the
requests in progress).
"""

from __future__ import annotations

from enum import Enum

__all__ = ["IDEMPOTENT", "Failure", "may_retry", "status_of", "within_budget"]

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110 9.2.2."""
LEAST_BUDGET = 3
"""Retries at a time that are always allowed, so that a quiet proxy can retry at all."""


class Failure(Enum):
    """What went wrong with one attempt."""

    CONNECT = "no connection"
    STALE = "a connection that had been idle broke before a response came"
    BROKEN = "the connection broke before a response came"
    TRUNCATED = "the connection broke inside of the response"
    TIMEOUT = "no response came in time"
    MALFORMED = "what came is no valid response"


STATUS = {
    Failure.CONNECT: 502,
    Failure.STALE: 502,
    Failure.BROKEN: 502,
    Failure.TRUNCATED: 502,
    Failure.TIMEOUT: 504,
    Failure.MALFORMED: 502,
}


def status_of(failure: Failure) -> int:
    """The status for a client whose request failed for good (RFC 9110 15.6.3, 15.6.5)."""
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


def within_budget(retrying: int, active: int, percent: float) -> bool:
    """Whether one more retry is allowed; the numbers are the whole machine's, at this moment."""
    return retrying < max(LEAST_BUDGET, active * percent / 100)
