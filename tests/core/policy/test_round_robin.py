"""Round-robin: Node's free list."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.policy import RoundRobin
from tests.core.policy.makers import pick

MEMBERS = st.integers(1, 6)
LOADS = st.integers(0, 20)
WEIGHTS = st.integers(1, 5)


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
