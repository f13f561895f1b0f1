"""What is left to chance, from known numbers: lots, random and the power of two choices."""

from __future__ import annotations

import random
from collections import Counter
from math import log, sqrt
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.policy.lots import Lots
from balancer.core.policy.p2c import P2C
from balancer.core.policy.random_choice import RandomChoice
from tests.core.policy.makers import offer_all, pick, turn

if TYPE_CHECKING:
    from balancer.core.policy import Policy

WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)
FRACTIONS = st.lists(st.floats(0.01, 300), min_size=1, max_size=6)
SEEDS = st.integers(0, 1 << 32)


def strips(lots: Lots, steps: int = 3000) -> dict[int, float]:
    """What part of the line finds each member, looked at point by point."""
    found = Counter[int]()
    for step in range(steps):
        again = iter([(step + 0.5) / steps])
        lots._random = again.__next__  # a point that finds nobody draws again, and there is none
        try:
            found[lots.draw()] += 1
        except StopIteration:
            continue
    return {member: count / sum(found.values()) for member, count in found.items()}


class TestLots:
    @given(FRACTIONS | WEIGHTS)
    def test_each_has_its_part_of_the_line(self, weights: list[float]) -> None:
        lots = Lots(random.random)
        for member, weight in enumerate(weights):
            lots.put(member, weight)
        found = strips(lots)
        for member, weight in enumerate(weights):
            assert found.get(member, 0) == pytest.approx(weight / sum(weights), abs=0.01)

    @given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0, 0.3, 1, 2, 3, 9]))), SEEDS)
    def test_what_came_before_changes_nothing(
        self, events: list[tuple[int, float]], seed: int
    ) -> None:
        """Whatever has come, gone and changed: the line is as if it had been made anew."""
        lots, now = Lots(random.Random(seed).random), dict[int, float]()
        for member, weight in events:
            if weight:
                lots.put(member, weight)
                now[member] = weight
            elif member in now:
                assert lots.remove(member) == now.pop(member)
        assert len(lots) == len(now)
        assert lots._total == sum(
            group.length * len(group.members) for group in lots._groups.values()
        )
        if now:
            assert lots.draw() in now
        if len(now) > 1:
            some = min(now)
            assert lots.draw_another(some) in now.keys() - {some}

    def test_the_last_number_below_one_finds_somebody(self) -> None:
        for count in range(1, 200):
            lots = Lots(lambda: 1 - 2**-53)
            for member in range(count):
                lots.put(member, 1)
            assert lots.draw() == count - 1

    def test_another_is_drawn_by_weight_too(self) -> None:
        lots = Lots(random.Random(3).random)
        for member, weight in ((1, 100), (2, 1), (3, 3)):
            lots.put(member, weight)
        counts = Counter(lots.draw_another(1) for _ in range(4000))
        assert counts[1] == 0
        assert 900 < counts[2] < 1100

    def test_a_draw_takes_two_numbers_at_most_on_average(self) -> None:
        """Whatever the weights: more than half of every strip finds its member."""
        numbers = random.Random(5)
        drawn = 0

        def counted() -> float:
            nonlocal drawn
            drawn += 1
            return numbers.random()

        lots = Lots(counted)
        for member in range(100):
            lots.put(member, 1.0001 * 2 ** (member % 5))
        for _ in range(2000):
            lots.draw()
        assert drawn < 4200


class TestRandomChoice:
    @given(WEIGHTS, SEEDS)
    def test_it_shares_by_weight(self, weights: list[int], seed: int) -> None:
        """Within seven standard deviations of a binomial."""
        policy, picks = RandomChoice(random.Random(seed).random), 600
        shares = offer_all(policy, weights)
        counts = Counter(turn(policy, shares) for _ in range(picks))
        for member, weight in shares.items():
            share = weight / sum(weights)
            assert abs(counts[member] - picks * share) <= 7 * sqrt(picks * share * (1 - share)) + 1


def spread(policy: Policy, members: int, balls: int) -> int:
    """The most that one has, where requests never end: balls into bins."""
    loads = dict.fromkeys(range(members), 0)
    for member in loads:
        policy.offer(member)
    for _ in range(balls):
        member = pick(policy)
        loads[member] += 1
        policy.offer(member, loads[member])
    return max(loads.values())


class TestP2C:
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), min_size=2), SEEDS)
    def test_the_most_loaded_is_never_picked(
        self, members: list[tuple[int, int]], seed: int
    ) -> None:
        policy = P2C(random.Random(seed).random)
        costs = [load / weight for load, weight in members]
        for member, (load, weight) in enumerate(members):
            policy.offer(member, load, weight)
        picked = pick(policy)
        assert costs[picked] < max(costs) or costs.count(max(costs)) > 1

    @given(st.integers(0, 9), st.integers(0, 9), SEEDS)
    def test_of_two_the_less_loaded(self, one: int, two: int, seed: int) -> None:
        policy = P2C(random.Random(seed).random)
        policy.offer(1, one)
        policy.offer(2, two)
        picked = policy.pick()
        assert one == two or picked == (1 if one < two else 2)

    @given(WEIGHTS.filter(lambda weights: len(weights) > 1), SEEDS)
    def test_only_who_is_picked_goes(self, weights: list[int], seed: int) -> None:
        policy = P2C(random.Random(seed).random)
        shares = offer_all(policy, weights)
        picked = pick(policy)
        assert policy._costs.keys() == policy._lots._group_of.keys() == shares.keys() - {picked}

    def test_an_idle_system_is_spread_by_weight(self) -> None:
        policy = P2C(random.Random(3).random)
        weights = offer_all(policy, [1, 3])
        counts = Counter(turn(policy, weights) for _ in range(4000))
        assert 900 < counts[0] < 1100

    @given(SEEDS)
    def test_the_fullest_has_as_many_as_mitzenmacher_says(self, seed: int) -> None:
        """n balls in n bins: log log n / log 2 + O(1) with two choices, and with one much more."""
        members = 1000
        two = spread(P2C(random.Random(seed).random), members, members)
        assert two <= log(log(members)) / log(2) + 2

    def test_that_is_less_than_by_chance(self) -> None:
        for seed in range(5):
            two = spread(P2C(random.Random(seed).random), 1000, 1000)
            one = spread(RandomChoice(random.Random(seed).random), 1000, 1000)
            assert two <= 3 < one

    def test_loads_stay_closer_together_than_by_chance(self) -> None:
        for seed in range(5):
            two = spread(P2C(random.Random(seed).random), 20, 4000)
            one = spread(RandomChoice(random.Random(seed).random), 20, 4000)
            assert two <= 203 < 215 < one
