"""Up and down: of two that are looked at the less loaded, and nobody is passed over for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from balancer.core.policy.updown import UpDown, _Row
from tests.core.policy.makers import pick

if TYPE_CHECKING:
    from collections.abc import Iterable


def stay(policy: UpDown, loads: dict[int, int], picks: int) -> None:
    """So many connections that stay."""
    for _ in range(picks):
        member = pick(policy)
        loads[member] += 1
        policy.offer(member, loads[member])


def made(loads: Iterable[int]) -> tuple[UpDown, dict[int, int]]:
    policy, known = UpDown(), dict(enumerate(loads))
    for member, load in known.items():
        policy.offer(member, load)
    return policy, known


class TestUpDown:
    @given(st.integers(1, 9), st.integers(0, 40))
    def test_equal_loads_rotate(self, members: int, picks: int) -> None:
        policy, order = UpDown(), []
        for member in range(members):
            policy.offer(member)
        for _ in range(picks):
            order.append(pick(policy))
            policy.offer(order[-1])
        assert order == [number % members for number in range(picks)]

    @given(st.integers(1, 9), st.integers(0, 90))
    def test_connections_that_stay_differ_by_at_most_two(self, members: int, picks: int) -> None:
        policy, loads = made([0] * members)
        stay(policy, loads, picks)
        assert max(loads.values()) - min(loads.values()) <= 2

    @given(st.lists(st.integers(0, 9), min_size=2, max_size=8))
    def test_the_most_loaded_is_never_picked(self, loads: list[int]) -> None:
        policy, _ = made(loads)
        picked = pick(policy)
        assert loads[picked] < max(loads) or loads.count(max(loads)) > 1

    @given(st.lists(st.integers(0, 9), min_size=2, max_size=8))
    def test_loads_that_differ_are_levelled(self, before: list[int]) -> None:
        """After what is missing, and a few walks past everybody, all are level to within three."""
        policy, loads = made(before)
        stay(policy, loads, sum(max(before) - load for load in before) + 6 * len(before))
        assert max(loads.values()) - min(loads.values()) <= 3

    @given(st.lists(st.integers(1, 9), min_size=3, max_size=9), st.data())
    def test_who_is_idle_is_picked_before_both_have_walked_past_everybody(
        self, loads: list[int], data: st.DataObject
    ) -> None:
        policy, known = made(loads)
        stay(policy, known, data.draw(st.integers(0, 20)))
        idle = data.draw(st.integers(0, len(loads) - 1))
        policy.offer(idle, 0)
        picked = set()
        for _ in range(2 * len(loads)):
            member = pick(policy)
            picked.add(member)
            known[member] += 1
            policy.offer(member, known[member])
        assert idle in picked

    def test_who_comes_takes_the_place_of_who_went(self) -> None:
        policy = UpDown()
        for member in (1, 2, 3):
            policy.offer(member)
        policy.forget(2)
        policy.offer(7)
        order = []
        for _ in range(6):
            order.append(pick(policy))
            policy.offer(order[-1])
        assert order == [1, 7, 3, 1, 7, 3]
        assert policy._members == [1, 7, 3]


class UpDownAgainstALine(RuleBasedStateMachine):
    """HAProxy's rule, written down for a short list of all that have ever come."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = UpDown()
        self.line: list[int] = []
        self.loads: dict[int, int] = {}  # by member, of those that are offered
        self.up, self.down = 0, -1

    @rule(member=st.integers(1, 6), load=st.integers(0, 5))
    def offer(self, member: int, load: int) -> None:
        self.policy.offer(member, load)
        self.loads[member] = load
        if member not in self.line:
            self.line.append(member)

    @rule(member=st.integers(1, 6))
    def withdraw(self, member: int) -> None:
        self.policy.withdraw(member)
        self.loads.pop(member, None)

    def look(self, place: int, step: int) -> int:
        while self.line[place % len(self.line)] not in self.loads:
            place += step
        return place % len(self.line)

    @precondition(lambda self: self.loads)
    @rule(again=st.booleans())
    def pick(self, again: bool) -> None:
        up, down = self.look(self.up, 1), self.look(self.down, -1)
        if up == down:
            down = self.look(down - 1, -1)
        one, other = self.line[up], self.line[down]
        self.up, self.down = up, down
        chosen = one if self.loads[one] <= self.loads[other] else other
        if self.loads[one] < self.loads[other]:
            self.down -= 1
        else:
            self.up += 1
        assert self.policy.pick() == chosen
        load = self.loads.pop(chosen)
        if again:
            self.offer(chosen, load + 1)


TestUpDownAgainstALine = UpDownAgainstALine.TestCase
TestUpDownAgainstALine.settings = settings(max_examples=60, stateful_step_count=40)


class RowAgainstASet(RuleBasedStateMachine):
    """The next one up and down, round and round, as a scan of everybody finds it."""

    def __init__(self) -> None:
        super().__init__()
        self.row = _Row()
        self.taken: set[int] = set()

    @rule(place=st.integers(0, 1100))
    def add(self, place: int) -> None:
        if place not in self.taken:
            self.row.add(place)
            self.taken.add(place)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self.taken)))
        self.row.remove(place)
        self.taken.remove(place)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        highest = (len(self.row._words) << 8) - 1
        place = data.draw(st.integers(-1, highest))
        above = [each for each in self.taken if each >= place]
        below = [each for each in self.taken if each <= place]
        assert self.row.from_above(place) == max(below or self.taken)
        if place >= 0:
            assert self.row.from_below(place) == min(above or self.taken)
        assert self.row.from_below(highest + 1) == min(self.taken)


TestRowAgainstASet = RowAgainstASet.TestCase
TestRowAgainstASet.settings = settings(max_examples=60, stateful_step_count=40)
