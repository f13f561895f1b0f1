"""Policies: the contract that all of them keep, and what defines each."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from balancer.core.policy import (
    KERNEL_POLICIES,
    POLICIES,
    UPSTREAM_POLICIES,
    LeastConnections,
    Policy,
    RoundRobin,
    make_policy,
)
from balancer.core.policy import least_connections as least_connections_module
from balancer.settings.policy import NAMES, PolicyChoice

if TYPE_CHECKING:
    from collections.abc import Callable


def make_upstream(name: str) -> Policy:
    return make_policy(PolicyChoice(name), random.Random(7).random, b"10.0.0.%d:80".__mod__)


MAKERS: dict[str, Callable[[], Policy]] = {
    **POLICIES,
    **{f"upstream {name}": partial(make_upstream, name) for name in UPSTREAM_POLICIES},
}
FAIR = {name: make for name, make in MAKERS.items() if name != "upstream first"}

MEMBERS = st.integers(1, 6)
LOADS = st.integers(0, 20)
WEIGHTS = st.integers(1, 5)


def pick(policy: Policy, key: bytes = b"") -> int:
    member = policy.pick(key)
    assert member is not None
    return member


def pick_all(policy: Policy) -> list[int]:
    order = []
    while (member := policy.pick(b"key")) is not None:
        order.append(member)
    return order


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
class TestContract:
    """What a caller may rely on, whatever the algorithm."""

    def test_nobody_is_picked_where_nobody_is_offered(self, make: Callable[[], Policy]) -> None:
        policy = make()
        assert policy.pick(b"key") is None
        assert len(policy) == 0

    def test_a_pick_withdraws(self, make: Callable[[], Policy]) -> None:
        policy = make()
        policy.offer(7)
        assert policy.pick(b"key") == 7
        assert policy.pick(b"key") is None

    def test_offering_twice_counts_once(self, make: Callable[[], Policy]) -> None:
        policy = make()
        policy.offer(7, 3)
        policy.offer(7, 1)
        assert len(policy) == 1
        assert pick_all(policy) == [7]

    def test_withdrawn_and_forgotten_members_are_not_picked(
        self, make: Callable[[], Policy]
    ) -> None:
        policy = make()
        for member in (1, 2, 3):
            policy.offer(member)
        policy.withdraw(1)
        policy.forget(3)
        policy.withdraw(99)
        policy.forget(99)
        assert pick_all(policy) == [2]

    def test_who_comes_back_is_picked_again(self, make: Callable[[], Policy]) -> None:
        policy = make()
        for take_away in (policy.withdraw, policy.forget):
            policy.offer(1, 5)
            take_away(1)
            policy.offer(1, 0)
            assert pick_all(policy) == [1]

    def test_it_says_what_it_needs(self, make: Callable[[], Policy]) -> None:
        policy = make()
        assert isinstance(policy.uses_load, bool)
        assert isinstance(policy.uses_key, bool)

    @settings(max_examples=50)
    @given(st.data())
    def test_it_picks_exactly_who_is_offered(
        self, make: Callable[[], Policy], data: st.DataObject
    ) -> None:
        policy, offered = make(), set[int]()
        for _ in range(data.draw(st.integers(0, 40))):
            match data.draw(st.sampled_from(["offer", "withdraw", "forget", "pick"])):
                case "offer":
                    member = data.draw(MEMBERS)
                    policy.offer(member, data.draw(LOADS), data.draw(WEIGHTS))
                    offered.add(member)
                case "pick":
                    picked = policy.pick(data.draw(st.binary(max_size=4)))
                    assert (picked is None) == (not offered)
                    if picked is not None:
                        offered.remove(picked)
                case verb:
                    member = data.draw(MEMBERS)
                    getattr(policy, verb)(member)
                    offered.discard(member)
            assert len(policy) == len(offered)
        assert set(pick_all(policy)) == offered


@pytest.mark.parametrize("make", FAIR.values(), ids=FAIR)
def test_a_thousand_picks_leave_nobody_out(make: Callable[[], Policy]) -> None:
    """Equal members with equal loads: no policy may starve one of them."""
    policy = make()
    loads = dict.fromkeys(range(1, 6), 0)
    for member in loads:
        policy.offer(member)
    for number in range(1000):
        member = pick(policy, number.to_bytes(4, "big"))
        loads[member] += 1
        policy.offer(member, loads[member])
    assert min(loads.values()) > 100


def test_the_kernels_policies_have_no_algorithm_here() -> None:
    assert not KERNEL_POLICIES & POLICIES.keys()


class TestRoundRobin:
    @given(st.lists(st.tuples(MEMBERS, LOADS, WEIGHTS)), st.integers(0, 20))
    def test_it_is_a_fifo_of_the_first_offers(
        self, offers: list[tuple[int, int, int]], picks: int
    ) -> None:
        policy = RoundRobin()
        for member, load, weight in offers:
            policy.offer(member, load, weight)
        order = list(dict.fromkeys(member for member, _, _ in offers))
        assert [policy.pick() for _ in range(picks)] == (order + [None] * picks)[:picks]

    @given(st.integers(1, 8), st.integers(0, 100))
    def test_prompt_members_differ_by_at_most_one(self, members: int, picks: int) -> None:
        policy = RoundRobin()
        for member in range(members):
            policy.offer(member)
        counts = Counter(dict.fromkeys(range(members), 0))
        for _ in range(picks):
            member = pick(policy)
            counts[member] += 1
            policy.offer(member)
        assert max(counts.values()) - min(counts.values()) <= 1

    @given(st.lists(st.booleans(), max_size=80))
    def test_a_slow_member_changes_nobody_elses_order(self, steps: list[bool]) -> None:
        """True picks, False brings the longest busy member back: Node's free list, as a deque."""
        policy, free, busy = RoundRobin(), deque([1, 2, 3, 4]), deque[int]()
        for member in free:
            policy.offer(member)
        for picks in steps:
            if picks:
                expected = free.popleft() if free else None
                assert policy.pick() == expected
                if expected is not None:
                    busy.append(expected)
            elif busy:
                member = busy.popleft()
                policy.offer(member)
                free.append(member)


class LeastConnectionsAgainstAList(RuleBasedStateMachine):
    """The same choice as a scan of everybody: least load per weight, then the oldest turn."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = LeastConnections()
        self.offered: dict[int, tuple[float, int]] = {}  # cost and turn
        self.turns = 0

    @rule(member=MEMBERS, load=LOADS, weight=WEIGHTS)
    def offer(self, member: int, load: int, weight: int) -> None:
        self.policy.offer(member, load, weight)
        if member in self.offered:
            turn = self.offered[member][1]
        else:
            self.turns = turn = self.turns + 1
        self.offered[member] = (load / weight, turn)

    @rule(member=MEMBERS)
    def withdraw(self, member: int) -> None:
        self.policy.withdraw(member)
        self.offered.pop(member, None)

    @rule(member=MEMBERS)
    def forget(self, member: int) -> None:
        self.policy.forget(member)
        self.offered.pop(member, None)

    @precondition(lambda self: self.offered)
    @rule()
    def pick(self) -> None:
        best = min(self.offered, key=lambda member: self.offered[member])
        assert self.policy.pick() == best
        del self.offered[best]

    @invariant()
    def the_count_is_right(self) -> None:
        assert len(self.policy) == len(self.offered)


TestLeastConnectionsAgainstAList = LeastConnectionsAgainstAList.TestCase
TestLeastConnectionsAgainstAList.settings = settings(max_examples=60, stateful_step_count=40)


class TestLeastConnections:
    def test_an_idle_system_rotates(self) -> None:
        policy, order = LeastConnections(), []
        for member in (2, 1, 3):
            policy.offer(member)
        for _ in range(6):
            order.append(pick(policy))
            policy.offer(order[-1])
        assert order == [2, 1, 3, 2, 1, 3]

    def test_weights_share_in_proportion(self) -> None:
        policy, loads, weights = LeastConnections(), {1: 0, 2: 0}, {1: 3, 2: 1}
        for member, weight in weights.items():
            policy.offer(member, 0, weight)
        for _ in range(80):
            member = pick(policy)
            loads[member] += 1
            policy.offer(member, loads[member], weights[member])
        assert loads == {1: 60, 2: 20}

    def test_a_measurement_does_not_cost_a_member_its_place(self) -> None:
        policy = LeastConnections()
        for member in (1, 2):
            policy.offer(member)
        policy.offer(1, 5)
        policy.offer(1, 0)
        assert pick_all(policy) == [1, 2]

    def test_the_heap_does_not_grow_without_bound(self) -> None:
        """Loads that change with every look, and nobody ever picked."""
        policy = LeastConnections()
        for load in range(5000):
            for member in range(10):
                policy.offer(member, load)
        assert len(policy._heap) <= 2 * 10 + 64 + 1

    def test_withdrawn_members_leave_a_bounded_heap(self) -> None:
        policy = LeastConnections()
        for member in range(5000):
            policy.offer(member)
            policy.withdraw(member)
        assert len(policy._heap) <= 64 + 1

    def test_a_pick_among_ten_thousand_costs_a_handful_of_heap_operations(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        members, rounds = 10_000, 20_000
        policy = LeastConnections()
        for member in range(members):
            policy.offer(member)
        operations = Counter[str]()

        def counted_pop(heap: list[least_connections_module._Entry]) -> object:
            operations["pop"] += 1
            return heapq.heappop(heap)

        def counted_heapify(heap: list[least_connections_module._Entry]) -> None:
            operations["heapified"] += len(heap)
            heapq.heapify(heap)

        monkeypatch.setattr(least_connections_module, "heappop", counted_pop)
        monkeypatch.setattr(least_connections_module, "heapify", counted_heapify)
        for number in range(rounds):
            policy.offer((7 * number) % members, number % 13)  # a measurement: one more stale entry
            member = pick(policy)
            policy.offer(member, number % 11)
        # amortised: a stale entry surfaces at most once, and a compaction pays for as many offers
        assert operations["pop"] <= 3 * rounds + members
        assert operations["heapified"] <= 3 * rounds + members


def test_every_policy_can_be_named() -> None:
    assert set(UPSTREAM_POLICIES) == NAMES
