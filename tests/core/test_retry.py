"""What may be tried again: never what could be done twice."""

from __future__ import annotations

import pytest

from balancer.core.retry import Failure, may_retry, status_of, within_budget

AGAIN = {
    # failure: (idempotent, not idempotent)
    Failure.CONNECT: (True, True),
    Failure.STALE: (True, False),
    Failure.BROKEN: (True, False),
    Failure.TRUNCATED: (False, False),
    Failure.TIMEOUT: (False, False),
    Failure.MALFORMED: (False, False),
}


@pytest.mark.parametrize("failure", Failure)
def test_what_may_be_tried_again(failure: Failure) -> None:
    for idempotent, again in zip((True, False), AGAIN[failure], strict=True):
        assert may_retry(failure, idempotent=idempotent, replayable=True) is again
        assert not may_retry(failure, idempotent=idempotent, replayable=False)


@pytest.mark.parametrize("failure", Failure)
def test_what_the_client_is_told(failure: Failure) -> None:
    assert status_of(failure) == (504 if failure is Failure.TIMEOUT else 502)


@pytest.mark.parametrize(
    ("retrying", "active", "allowed"),
    [(0, 0, True), (2, 1, True), (3, 10, False), (3, 20, True), (4, 20, False), (19, 100, True)],
)
def test_the_budget(retrying: int, active: int, allowed: bool) -> None:
    assert within_budget(retrying, active, 20) is allowed
