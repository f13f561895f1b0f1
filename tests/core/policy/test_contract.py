"""What a caller may rely on, whatever the algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from balancer.core.policy.guarded import Guarded
from tests.core.policy.makers import ALL, pick, pick_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.core.policy import Policy

MEMBERS = st.integers(1, 6)
LOADS = st.integers(0, 20)
WEIGHTS = st.integers(1, 5)
PARTS = st.sampled_from([0.01, 0.25, 0.5, 0.99])  # of a weight, in a slow start


def fail(error: BaseException) -> None:
    raise AssertionError from error


MAKERS: dict[str, Callable[[], Policy]] = {
    **ALL,
    "guarded": lambda: Guarded(ALL["p2c for workers and upstreams"](), fail),
}
PROMISING = {name: make for name, make in MAKERS.items() if "first" not in name}
"""Those by which everybody gets something in the end; ``first`` promises the opposite."""


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
class TestContract:
    def test_nobody_is_picked_where_nobody_is_offered(self, make: Callable[[], Policy]) -> None:
        policy = make()
        assert policy.pick(b"key") is None
        assert policy.pick() is None
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

    def test_any_course_of_events(self, make: Callable[[], Policy]) -> None:
        class Course(AgainstASet):
            maker = staticmethod(make)

        run_state_machine_as_test(
            Course, settings=settings(max_examples=30, stateful_step_count=40, deadline=None)
        )


class AgainstASet(RuleBasedStateMachine):
    """The whole contract: a policy picks somebody of those that are offered, and takes it out."""

    maker: Callable[[], Policy]

    @initialize()
    def begin(self) -> None:
        self.policy = self.maker()
        self.offered: set[int] = set()
        self.known: set[int] = set()

    @rule(member=MEMBERS, load=LOADS, weight=WEIGHTS | PARTS)
    def offer(self, member: int, load: int, weight: float) -> None:
        self.policy.offer(member, load, weight)
        self.offered.add(member)
        self.known.add(member)

    @rule(member=MEMBERS)
    def withdraw(self, member: int) -> None:
        self.policy.withdraw(member)
        self.offered.discard(member)

    @rule(member=MEMBERS)
    def forget(self, member: int) -> None:
        self.policy.forget(member)
        self.offered.discard(member)
        self.known.discard(member)

    @precondition(lambda self: self.offered)
    @rule(key=st.binary(max_size=4), again=st.booleans(), load=LOADS, weight=WEIGHTS)
    def pick(self, key: bytes, again: bool, load: int, weight: int) -> None:
        member = self.policy.pick(key)
        assert member is not None
        self.offered.remove(member)
        assert len(self.policy) == len(self.offered)
        if again:
            self.offer(member, load, weight)

    @precondition(lambda self: not self.offered)
    @rule(key=st.binary(max_size=4))
    def pick_nobody(self, key: bytes) -> None:
        assert self.policy.pick(key) is None

    @invariant()
    def the_count_is_right(self) -> None:
        assert len(self.policy) == len(self.offered)

    def teardown(self) -> None:
        if hasattr(self, "policy"):
            assert set(pick_all(self.policy)) == self.offered
            for member in self.known:  # and it is none the worse for it
                self.policy.offer(member)
            assert set(pick_all(self.policy)) == self.known


@pytest.mark.parametrize("make", PROMISING.values(), ids=PROMISING)
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
