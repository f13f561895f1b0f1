"""First: the lowest of those that can."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.policy.first import First
from tests.core.policy.makers import pick

EVENTS = st.tuples(st.integers(0, 5), st.sampled_from(["offer", "offer", "withdraw", "pick"]))


@given(st.lists(EVENTS, max_size=60))
def test_it_is_the_lowest_number_that_is_free(events: list[tuple[int, str]]) -> None:
    policy, free = First(), set[int]()
    for member, event in events:
        if event == "offer":
            policy.offer(member)
            free.add(member)
        elif event == "withdraw":
            policy.withdraw(member)
            free.discard(member)
        else:
            assert policy.pick() == min(free, default=None)
            free.discard(min(free, default=-1))


def test_who_has_room_gets_everything() -> None:
    policy = First()
    for member in (3, 1, 2):
        policy.offer(member)
    for _ in range(10):
        assert pick(policy) == 1
        policy.offer(1)


def test_the_heap_does_not_grow_without_bound() -> None:
    """One that gets everything, and others that come and go: their numbers never surface."""
    policy = First()
    policy.offer(0)
    for member in range(1, 5000):
        policy.offer(member)
        policy.forget(member)
        assert pick(policy) == 0
        policy.offer(0)
    assert len(policy._heap) == len(policy._heaped) <= 2 + 64 + 1
