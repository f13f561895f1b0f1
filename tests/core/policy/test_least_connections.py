"""Least connections: never more than the least and one."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from balancer.core.policy import LeastConnections
from balancer.core.policy import least_connections as least_connections_module
from tests.core.policy.makers import pick, pick_all

if TYPE_CHECKING:
    import pytest

MEMBERS = st.integers(1, 6)
LOADS = st.integers(0, 20)
WEIGHTS = st.integers(1, 5)


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
    @given(
        st.lists(st.tuples(LOADS, WEIGHTS), min_size=1, max_size=8), st.integers(1, 60), st.data()
    )
    def test_nobody_gets_more_than_the_least_and_one(
        self, members: list[tuple[int, int]], picks: int, data: st.DataObject
    ) -> None:
        """Connections come, stay and go: the new one is always where the share was lowest."""
        policy = LeastConnections()
        loads = {member: load for member, (load, _) in enumerate(members)}
        weights = {member: weight for member, (_, weight) in enumerate(members)}
        for _ in range(picks):
            for member, load in loads.items():
                policy.offer(member, load, weights[member])
            lowest = min(loads[member] / weights[member] for member in loads)
            member = pick(policy)
            assert loads[member] / weights[member] == lowest
            loads[member] += 1
            gone = data.draw(st.sampled_from(sorted(loads)))
            loads[gone] -= min(loads[gone], data.draw(st.integers(0, 1)))

    @given(st.integers(1, 8), st.integers(0, 60))
    def test_connections_that_stay_differ_by_at_most_one(self, members: int, picks: int) -> None:
        policy, loads = LeastConnections(), dict.fromkeys(range(members), 0)
        for member in loads:
            policy.offer(member)
        for _ in range(picks):
            member = pick(policy)
            loads[member] += 1
            policy.offer(member, loads[member])
        assert max(loads.values()) - min(loads.values()) <= 1

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
