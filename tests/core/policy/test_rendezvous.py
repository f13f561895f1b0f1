"""Rendezvous hashing: keys stay where they are."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.core.policy.rendezvous import Rendezvous
from tests.core.policy.makers import name_of, offer_all, turn

if TYPE_CHECKING:
    from collections.abc import Iterable

WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)
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

    @settings(max_examples=20)
    @given(st.integers(2, 9), st.data())
    def test_one_in_n_of_the_keys_move_and_all_of_them_return(
        self, members: int, data: st.DataObject
    ) -> None:
        policy = Rendezvous(name_of)
        shares = offer_all(policy, [1] * members)
        gone = data.draw(st.integers(0, members - 1))
        prefix, count = data.draw(st.binary(max_size=4)), 400
        keys = [prefix + b"%d" % number for number in range(count)]
        before = [turn(policy, shares, key) for key in keys]
        policy.withdraw(gone)
        without = [turn(policy, shares, key) for key in keys]
        moved = [one for one, other in zip(before, without, strict=True) if one != other]
        assert moved == [gone] * before.count(gone)
        share = 1 / members
        assert abs(len(moved) - count * share) <= 6 * sqrt(count * share * (1 - share))
        policy.offer(gone)
        assert [turn(policy, shares, key) for key in keys] == before

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
