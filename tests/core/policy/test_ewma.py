"""Peak-EWMA: against its formula, with a clock."""

from __future__ import annotations

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.policy.ewma import DECAY, Ewma
from tests.core.policy.makers import offer_all, turn


class TestEwma:
    def test_a_latency_above_the_average_takes_over_at_once(self) -> None:
        policy = Ewma()
        policy.observe(1, 0.010, 0.0)
        policy.observe(1, 2.0, 0.1)
        assert policy.latency(1, 0.1) == 2.0

    def test_one_below_only_as_the_old_one_ages(self) -> None:
        policy = Ewma()
        policy.observe(1, 1.0, 0.0)
        policy.observe(1, 0.1, DECAY)
        assert policy.latency(1, DECAY) == pytest.approx(0.1 * (1 - exp(-1)) + exp(-1))

    def test_an_average_that_nobody_renews_decays(self) -> None:
        policy = Ewma()
        policy.observe(1, 1.0, 5.0)
        assert policy.latency(1, 5.0 + DECAY) == pytest.approx(exp(-1))
        assert policy.latency(2, 5.0) is None

    @given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 30)), min_size=1))
    def test_it_stays_between_the_lowest_and_the_highest(
        self, observed: list[tuple[float, float]]
    ) -> None:
        policy, now = Ewma(), 0.0
        for seconds, later in observed:
            now += later
            policy.observe(1, seconds, now)
        latency = policy.latency(1, now)
        assert latency is not None
        seen = [max(seconds, 1e-6) for seconds, _ in observed]
        assert min(seen) * (1 - 1e-9) <= latency <= max(seen) * (1 + 1e-9)

    @given(
        st.lists(
            st.tuples(
                st.floats(0.001, 60), st.floats(0, 100), st.integers(0, 9), st.integers(1, 4)
            ),
            min_size=1,
            max_size=6,
        )
    )
    def test_the_lowest_cost_is_picked(self, members: list[tuple[float, float, int, int]]) -> None:
        """Against the formula itself, with a clock."""
        policy, now, costs = Ewma(), 100.0, []
        for member, (seconds, at, load, weight) in enumerate(members):
            policy.observe(member, seconds, at)
            policy.offer(member, load, weight)
            costs.append(seconds * exp((at - now) / DECAY) * (load + 1) / weight)
        picked = policy.pick()
        assert picked is not None
        assert costs[picked] <= min(costs) * (1 + 1e-9)

    def test_equals_take_turns(self) -> None:
        policy = Ewma()
        for member in range(3):
            policy.observe(member, 0.01, 0.0)
        weights = offer_all(policy, [1, 1, 1])
        assert [turn(policy, weights) for _ in range(6)] == [0, 1, 2, 0, 1, 2]

    def test_a_new_member_is_tried_with_one_request_at_a_time(self) -> None:
        policy = Ewma()
        policy.observe(1, 0.001, 0.0)
        policy.offer(1, 5)
        policy.offer(2, 0)
        assert policy.pick() == 2
        policy.offer(2, 1)
        assert policy.pick() == 1
        policy.observe(2, 0.001, 1.0)
        policy.offer(1, 5)
        assert policy.pick() == 2

    def test_a_clock_that_is_behind_changes_nothing(self) -> None:
        policy = Ewma()
        policy.observe(1, 1.0, 10.0)
        policy.observe(1, 0.5, 9.0)
        assert policy.latency(1, 10.0) == 1.0

    def test_who_is_forgotten_was_never_measured(self) -> None:
        policy = Ewma()
        policy.observe(1, 1.0, 10.0)
        policy.withdraw(1)
        assert policy.latency(1, 10.0) == 1.0
        policy.forget(1)
        assert policy.latency(1, 10.0) is None
