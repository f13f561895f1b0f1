"""The upstreams' policies: what each promises beyond the contract, and what their texts mean."""

from __future__ import annotations

import random
from collections import Counter
from math import ceil, exp
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.policy import Policy, make_policy
from balancer.core.policy.draw import draw
from balancer.core.policy.ewma import DECAY, Ewma
from balancer.core.policy.first import First
from balancer.core.policy.p2c import P2C
from balancer.core.policy.random_choice import RandomChoice
from balancer.core.policy.rendezvous import Rendezvous
from balancer.core.policy.smooth_weighted import SmoothWeighted
from balancer.settings.policy import KeySource, PolicyChoice, parse_policy

if TYPE_CHECKING:
    from collections.abc import Iterable

WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)
RANDOM = st.floats(0, 1, exclude_max=True)
SEEDS = st.integers(0, 1 << 32)


def name_of(member: int) -> bytes:
    return b"10.0.0.%d:8080" % member


def turn(policy: Policy, weights: dict[int, int], key: bytes = b"") -> int:
    """One pick, with the member back at once."""
    member = policy.pick(key)
    assert member is not None
    policy.offer(member, 0, weights[member])
    return member


def offer_all(policy: Policy, weights: Iterable[int]) -> dict[int, int]:
    shares = dict(enumerate(weights))
    for member, weight in shares.items():
        policy.offer(member, 0, weight)
    return shares


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


class TestDraw:
    @given(WEIGHTS, RANDOM)
    def test_each_has_its_part_of_the_range(self, weights: list[int], at: float) -> None:
        shares = dict(enumerate(weights))
        member = draw(shares, at)
        before = sum(weights[:member])
        point = at * sum(weights)
        assert before <= point <= before + weights[member]

    def test_rounding_finds_the_last(self) -> None:
        assert draw({1: 0.1, 2: 0.2, 3: 0.3}, 1 - 2**-53) == 3
        assert draw({1: 0.5}, 1.0) == 1


class TestRandomChoice:
    def test_it_shares_by_weight(self) -> None:
        policy = RandomChoice(random.Random(3).random)
        weights = offer_all(policy, [1, 3])
        counts = Counter(turn(policy, weights) for _ in range(4000))
        assert 900 < counts[0] < 1100


class TestP2C:
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), min_size=2), SEEDS)
    def test_the_most_loaded_is_never_picked(
        self, members: list[tuple[int, int]], seed: int
    ) -> None:
        policy = P2C(random.Random(seed).random)
        costs = [load / weight for load, weight in members]
        for member, (load, weight) in enumerate(members):
            policy.offer(member, load, weight)
        picked = policy.pick()
        assert picked is not None
        assert costs[picked] < max(costs) or costs.count(max(costs)) > 1

    @given(st.integers(0, 9), st.integers(0, 9), SEEDS)
    def test_of_two_the_less_loaded(self, one: int, two: int, seed: int) -> None:
        policy = P2C(random.Random(seed).random)
        policy.offer(1, one)
        policy.offer(2, two)
        picked = policy.pick()
        assert one == two or picked == (1 if one < two else 2)

    @given(st.lists(RANDOM, min_size=2, max_size=2), WEIGHTS.filter(lambda w: len(w) > 2))
    def test_both_that_are_drawn_differ_and_the_other_stays(
        self, numbers: list[float], weights: list[int]
    ) -> None:
        policy = P2C(iter(numbers).__next__)
        shares = offer_all(policy, weights)
        picked = policy.pick()
        assert picked is not None
        assert set(policy._weights) == set(policy._costs) == shares.keys() - {picked}
        assert all(policy._weights[member] == shares[member] for member in policy._weights)

    def test_an_idle_system_is_spread_by_weight(self) -> None:
        policy = P2C(random.Random(3).random)
        weights = offer_all(policy, [1, 3])
        counts = Counter(turn(policy, weights) for _ in range(4000))
        assert 900 < counts[0] < 1100

    def test_loads_stay_closer_together_than_by_chance(self) -> None:
        """Balls into bins: 20 members, 4000 requests that never end."""
        spread = {}
        for make in (P2C, RandomChoice):
            policy, loads = make(random.Random(5).random), dict.fromkeys(range(20), 0)
            for member in loads:
                policy.offer(member)
            for _ in range(4000):
                picked = policy.pick()
                assert picked is not None
                loads[picked] += 1
                policy.offer(picked, loads[picked])
            spread[make] = max(loads.values()) - min(loads.values())
        assert spread[P2C] <= 5 < 20 < spread[RandomChoice]


KEYS = [b"client-%d" % number for number in range(2000)]


def owners(members: Iterable[int], weights: dict[int, float] | None = None) -> dict[bytes, int]:
    policy, found = Rendezvous(name_of), {}
    weights = dict.fromkeys(members, 1.0) if weights is None else weights
    for member, weight in weights.items():
        policy.offer(member, 0, weight)
    for key in KEYS:
        picked = policy.pick(key)
        assert picked is not None
        found[key] = picked
        policy.offer(picked, 0, weights[picked])
    return found


class TestRendezvous:
    def test_a_member_that_goes_moves_only_its_own_keys(self) -> None:
        before, after = owners(range(5)), owners([0, 1, 3, 4])
        moved = {key for key in KEYS if before[key] != after[key]}
        assert moved == {key for key in KEYS if before[key] == 2}
        assert Counter(after[key] for key in moved).keys() == {0, 1, 3, 4}  # and to all of them

    def test_a_weight_that_grows_only_draws_keys(self) -> None:
        before = owners([], {0: 1, 1: 1, 2: 1})
        after = owners([], {0: 1, 1: 2, 2: 1})
        assert {after[key] for key in KEYS if before[key] != after[key]} == {1}

    def test_keys_are_shared_by_weight(self) -> None:
        counts = Counter(owners([], {0: 1, 1: 3}).values())
        assert 400 < counts[0] < 600

    def test_the_order_of_the_offers_says_nothing(self) -> None:
        assert owners([0, 1, 2, 3]) == owners([3, 1, 0, 2])

    def test_names_count_and_not_numbers(self) -> None:
        """Another front door has the same endpoints under other numbers."""
        here, there = Rendezvous(name_of), Rendezvous(lambda member: name_of(9 - member))
        for number in range(10):
            here.offer(number)
            there.offer(number)
        for key in KEYS[:200]:
            one, other = here.pick(key), there.pick(key)
            assert one is not None
            assert other == 9 - one
            here.offer(one)
            there.offer(other)

    def test_every_machine_and_version_agrees(self) -> None:
        """Written down once: a change of the hash would move everybody's sessions."""
        found = owners(range(4))
        assert [found[key] for key in KEYS[:12]] == GOLDEN

    @given(st.binary(min_size=1), WEIGHTS)
    def test_the_same_key_meets_the_same_member(self, key: bytes, weights: list[int]) -> None:
        policy = Rendezvous(name_of)
        shares = offer_all(policy, weights)
        assert len({turn(policy, shares, key) for _ in range(3)}) == 1

    def test_requests_without_a_key_are_spread_by_weight(self) -> None:
        policy = Rendezvous(name_of)
        weights = offer_all(policy, [3, 1])
        assert Counter(turn(policy, weights) for _ in range(40)) == {0: 30, 1: 10}

    def test_who_is_forgotten_is_asked_for_its_name_again(self) -> None:
        names = {1: b"old"}
        policy = Rendezvous(names.__getitem__)
        policy.offer(1)
        names[1] = b"new"
        policy.offer(1)
        policy.forget(1)
        policy.offer(1)
        other = Rendezvous(lambda _: b"new")
        other.offer(1)
        assert policy._score(1, 1, b"key") == other._score(1, 1, b"key")

    @given(st.binary(min_size=1), WEIGHTS)
    def test_the_order_of_a_key_is_that_in_which_its_members_would_be_picked(
        self, key: bytes, weights: list[int]
    ) -> None:
        policy = Rendezvous(name_of)
        order = list(policy.prefer(key, dict(enumerate(weights))))
        assert len(policy) == 0  # nobody has been offered by that
        offer_all(policy, weights)
        assert order == [policy.pick(key) for _ in weights]

    def test_nobody_is_preferred_without_a_key(self) -> None:
        assert list(Rendezvous(name_of).prefer(b"", {1: 1, 2: 1})) == []


GOLDEN = [1, 0, 0, 3, 3, 3, 1, 2, 3, 3, 0, 3]


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


def test_first_is_the_first_that_can() -> None:
    policy = First()
    for member in (2, 0, 1):
        policy.offer(member)
    assert [policy.pick(), policy.pick()] == [0, 1]
    policy.offer(1)
    assert [policy.pick(), policy.pick(), policy.pick()] == [1, 2, None]


GOOD = {
    "round-robin": (PolicyChoice("round-robin"), SmoothWeighted),
    "p2c": (PolicyChoice("p2c"), P2C),
    "random": (PolicyChoice("random"), RandomChoice),
    "ewma": (PolicyChoice("ewma"), Ewma),
    "first": (PolicyChoice("first"), First),
    "hash:ip": (PolicyChoice("hash", KeySource.IP), Rendezvous),
    "hash:uri": (PolicyChoice("hash", KeySource.URI), Rendezvous),
    "hash:header:X-User": (PolicyChoice("hash", KeySource.HEADER, "x-user"), Rendezvous),
    "hash:cookie:Session": (PolicyChoice("hash", KeySource.COOKIE, "Session"), Rendezvous),
}
BAD = {
    "": "must be one of round-robin, .*hash:cookie:NAME",
    "fastest": "must be one of",
    "Round-Robin": "must be one of",
    "round-robin:": "round-robin takes nothing after it",
    "p2c:3": "p2c takes nothing after it; only hash has a key: hash:ip, ",
    "hash": "hash needs a key; write hash:ip, ",
    "hash:": "hash needs a key",
    "hash:path": "can't hash by 'path'; write hash:ip, ",
    "hash:ip:x": "hash:ip takes no name; write hash:ip",
    "hash:uri:": "hash:uri takes no name",
    "hash:header": "hash:header needs the header's name; write hash:header:NAME",
    "hash:cookie:": "hash:cookie needs the cookie's name",
    "hash:header:X User": "'X User' can't be a header's name",
    "hash:cookie:a=b": "'a=b' can't be a cookie's name",
    "hash:header:a\n": r"'a\\n' can't be a header's name",
}


class TestTexts:
    @pytest.mark.parametrize("text", GOOD)
    def test_good(self, text: str) -> None:
        choice, policy = GOOD[text]
        assert parse_policy(text) == choice
        assert isinstance(make_policy(choice, random.Random().random, name_of), policy)
        assert str(choice).lower() == text.lower()
        assert parse_policy(str(choice)) == choice

    @pytest.mark.parametrize("text", BAD)
    def test_bad(self, text: str) -> None:
        with pytest.raises(ValueError, match=f"^{BAD[text]}"):
            parse_policy(text)

    @given(st.text() | st.builds("hash:{}:{}".format, st.text(), st.text()))
    def test_anything_is_good_or_one_sentence(self, text: str) -> None:
        try:
            choice = parse_policy(text)
        except ValueError as error:
            told = str(error)
        else:
            told = ""
            assert parse_policy(str(choice)) == choice
        assert "\n" not in told
