"""What may be tried again: never what could be done twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.retry import LEAST_BUDGET, WINDOW, Failure, RetryBudget, may_retry, status_of

AGAIN = {
    # failure: (idempotent, not idempotent)
    Failure.CONNECT: (True, True),
    Failure.SHORTAGE: (False, False),
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
    other = {Failure.TIMEOUT: 504, Failure.SHORTAGE: 503}
    assert status_of(failure) == other.get(failure, 502)


def test_a_quiet_proxy_can_retry() -> None:
    budget = RetryBudget(20)
    assert budget.allows(1, 0)
    assert budget.allows(LEAST_BUDGET, LEAST_BUDGET - 1)
    assert not budget.allows(LEAST_BUDGET + 1, LEAST_BUDGET)


def test_a_burst_is_a_share_of_what_went_well_before() -> None:
    budget = RetryBudget(20)
    budget.note(1.0, 900, 0)
    assert budget.allows(1000, 199)
    assert not budget.allows(1000, 200)


def test_what_was_spent_is_forgotten_with_the_requests_that_it_was_spent_on() -> None:
    budget = RetryBudget(20)
    for second in range(5):
        budget.note(float(second), 1000, 200)
    assert not budget.allows(1000, 200)
    budget.note(WINDOW - 0.5, 1000, 200)
    assert not budget.allows(1000, 200), "the window still holds them"
    budget.note(WINDOW, 1000, 200)
    assert budget.allows(1000, 200)


def test_a_budget_is_no_share_of_what_was_before_it() -> None:
    """A worker that starts late would have a part of all requests that there have ever been."""
    budget = RetryBudget(20, 10**6, 0)
    assert budget.allows(10**6, LEAST_BUDGET - 1)
    assert not budget.allows(10**6, LEAST_BUDGET)


def test_no_share_is_no_retry() -> None:
    assert not RetryBudget(0).allows(10**6, 0)


@given(
    steps=st.lists(st.tuples(st.floats(0.01, 4.0), st.integers(0, 300), st.integers(0, 100))),
    percent=st.floats(0.1, 100),
)
def test_the_budget_is_a_share_of_the_last_seconds(
    steps: list[tuple[float, int, int]], percent: float
) -> None:
    budget, now, requests, retries = RetryBudget(percent), 0.0, 0, 0
    history = [(0.0, 0, 0)]
    for pause, asked, wanted in steps:
        now += pause
        requests += asked
        past = [each for each in history if each[0] <= history[-1][0] - WINDOW]
        _, requests_before, retries_before = past[-1] if past else (0.0, 0, 0)
        for _ in range(wanted):
            share = (requests - requests_before) * percent / 100
            allowed = budget.allows(requests, retries)
            assert allowed is (retries - retries_before < max(LEAST_BUDGET, share))
            requests += allowed
            retries += allowed
        budget.note(now, requests, retries)
        history.append((now, requests, retries))
