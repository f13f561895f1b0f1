"""Weighted: exact over a round, whatever the weights, and without a memory of long absences."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.policy.weighted import Weighted
from tests.core.policy.makers import offer_all, pick, turn

WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)
ANY = st.lists(st.integers(1, 256), min_size=1, max_size=5)


class TestRounds:
    @given(ANY, st.integers(0, 300))
    def test_each_has_its_weight_in_any_period(self, weights: list[int], skipped: int) -> None:
        policy = Weighted()
        shares = offer_all(policy, weights)
        for _ in range(skipped):
            turn(policy, shares)
        for _ in range(2):
            assert Counter(turn(policy, shares) for _ in range(sum(weights))) == shares

    def test_a_million_picks_drift_by_none(self) -> None:
        policy, weights = Weighted(), [3, 7, 11]
        shares = offer_all(policy, weights)
        rounds = 10_000
        for member in shares:  # as if it had run for a year
            policy._turns[member].round = 10**12
            policy.withdraw(member)
        policy._now = (10**12, 0.0)
        offer_all(policy, weights)
        counts = Counter(turn(policy, shares) for _ in range(rounds * sum(weights)))
        assert counts == {member: rounds * weight for member, weight in shares.items()}

    def test_the_light_ones_are_not_served_in_a_row(self) -> None:
        policy = Weighted()
        weights = offer_all(policy, [5, 1, 1])
        assert "".join("abc"[turn(policy, weights)] for _ in range(7)) == "aacaaba"
        policy = Weighted()
        weights = offer_all(policy, [50] + [1] * 50)
        order = [turn(policy, weights) for _ in range(100)]
        assert max(len(run) for run in "".join("ab"[n > 0] for n in order).split("a")) <= 3

    @given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 60))
    def test_equals_rotate(self, members: int, weight: int, picks: int) -> None:
        policy = Weighted()
        weights = offer_all(policy, [weight] * members)
        order = [turn(policy, weights) for _ in range(members + picks)]
        assert len(set(order[:members])) == members
        assert order[members:] == order[: len(order) - members]

    @given(st.lists(st.sampled_from([0.01, 0.2, 0.37, 1, 1.5, 2]), min_size=1, max_size=5))
    def test_parts_of_a_weight_are_right_in_the_long_run(self, weights: list[float]) -> None:
        policy, counts, picks = Weighted(), Counter[int](), 2000
        for member, weight in enumerate(weights):
            policy.offer(member, 0, weight)
        for _ in range(picks):
            member = pick(policy)
            counts[member] += 1
            policy.offer(member, 0, weights[member])
        for member, weight in enumerate(weights):
            assert counts[member] == pytest.approx(picks * weight / sum(weights), abs=6)


class TestAbsence:
    @given(WEIGHTS.filter(lambda weights: len(weights) > 1), st.integers(0, 40))
    def test_a_short_one_is_made_good(self, weights: list[int], before: int) -> None:
        """A connection is on its way while others are picked: all have their share in the end."""
        policy, counts = Weighted(), Counter[int]()
        shares = offer_all(policy, weights)
        for _ in range(before):
            counts[turn(policy, shares)] += 1
        busy = pick(policy)
        counts[busy] += 1
        counts[turn(policy, shares)] += 1
        policy.offer(busy, 0, shares[busy])
        left = 3 * sum(weights) - sum(counts.values()) % sum(weights)
        for _ in range(left):
            counts[turn(policy, shares)] += 1
        rounds = sum(counts.values()) // sum(weights)
        assert counts == {member: rounds * weight for member, weight in shares.items()}

    @given(WEIGHTS.filter(lambda weights: len(weights) > 1), st.integers(100, 1000))
    def test_a_long_one_is_not(self, weights: list[int], missed: int) -> None:
        policy = Weighted()
        shares = offer_all(policy, weights)
        policy.withdraw(0)
        for _ in range(missed):
            turn(policy, shares)
        policy.offer(0, 0, shares[0])
        run = 0
        while turn(policy, shares) == 0:
            run += 1
        assert run <= 3 * shares[0]  # of the last round, this one and the next

    @given(WEIGHTS, st.integers(1, 100), st.integers(1, 9))
    def test_who_is_new_is_owed_nothing(self, weights: list[int], before: int, weight: int) -> None:
        policy = Weighted()
        shares = offer_all(policy, weights)
        for _ in range(before):
            turn(policy, shares)
        new = len(shares)
        shares[new] = weight
        policy.offer(new, 0, weight)
        counts = Counter(turn(policy, shares) for _ in range(sum(shares.values())))
        assert abs(counts[new] - weight) <= 1

    def test_a_new_weight_counts_from_the_next_offer(self) -> None:
        policy = Weighted()
        weights = offer_all(policy, [1, 1])
        for _ in range(4):
            turn(policy, weights)
        weights[1] = 3
        policy.offer(1, 0, 3)
        counts = Counter(turn(policy, weights) for _ in range(40))
        assert counts[1] in {29, 30, 31}

    def test_the_heap_does_not_grow_without_bound(self) -> None:
        policy = Weighted()
        for member in range(5000):
            policy.offer(member)
            policy.withdraw(member)
        assert len(policy._heap) <= 64 + 1
