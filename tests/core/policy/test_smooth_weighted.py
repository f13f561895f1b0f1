"""Smooth weighted round-robin: exact over a period, and never far from it."""

from __future__ import annotations

from collections import Counter
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.policy.smooth_weighted import SmoothWeighted
from tests.core.policy.makers import offer_all, turn

WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


class TestSmoothWeighted:
    def test_nginxs_own_example(self) -> None:
        policy = SmoothWeighted()
        weights = offer_all(policy, [5, 1, 1])
        order = "".join("abc"[turn(policy, weights)] for _ in range(14))
        assert order == "aabacaa" * 2

    def test_equal_weights_rotate(self) -> None:
        policy = SmoothWeighted()
        weights = offer_all(policy, [2, 2, 2])
        assert [turn(policy, weights) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]

    @given(WEIGHTS, st.integers(0, 50))
    def test_each_has_its_weight_in_every_period(self, weights: list[int], skipped: int) -> None:
        policy = SmoothWeighted()
        shares = offer_all(policy, weights)
        for _ in range(skipped):
            turn(policy, shares)
        counts = Counter(turn(policy, shares) for _ in range(sum(weights)))
        assert counts == shares

    @given(WEIGHTS)
    def test_nobody_is_more_than_one_pick_ahead_of_its_share(self, weights: list[int]) -> None:
        policy, total, counts = SmoothWeighted(), sum(weights), Counter[int]()
        shares = offer_all(policy, weights)
        for picks in range(1, 2 * total + 1):
            member = turn(policy, shares)
            counts[member] += 1
            assert counts[member] * total < picks * shares[member] + total

    @given(st.integers(1, 30), st.integers(1, 30))
    def test_of_two_nobody_is_picked_longer_in_a_row_than_needed(self, one: int, two: int) -> None:
        policy, longest, last, run = SmoothWeighted(), 0, -1, 0
        weights = offer_all(policy, [one, two])
        for _ in range(2 * (one + two)):
            member = turn(policy, weights)
            run = run + 1 if member == last else 1
            last, longest = member, max(longest, run)
        assert longest <= ceil(max(one, two) / min(one, two))

    @given(st.lists(st.sets(st.integers(0, 4), min_size=1), max_size=60), WEIGHTS)
    def test_absences_make_nobody_rich(self, present: list[set[int]], weights: list[int]) -> None:
        """What is paid is charged: whoever is away, the balances add up to nothing."""
        policy = SmoothWeighted()
        shares = offer_all(policy, weights)
        for members in present:
            for member in shares:
                if member in members:
                    policy.offer(member, 0, shares[member])
                else:
                    policy.withdraw(member)
            picked = policy.pick()
            offered = members & shares.keys()
            assert picked in offered if offered else picked is None
            assert sum(policy._balance.values()) == 0

    def test_a_new_weight_counts_from_the_next_pick(self) -> None:
        policy = SmoothWeighted()
        weights = offer_all(policy, [1, 1])
        for _ in range(4):
            turn(policy, weights)
        weights[1] = 3
        policy.offer(1, 0, 3)
        assert Counter(turn(policy, weights) for _ in range(40)) == {0: 10, 1: 30}
