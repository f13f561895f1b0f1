"""Who is recycled now: in order, never too many, and everybody in the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.recycle import JITTER, SHARE, Limits, Recycling

JITTERS = st.floats(0, 1, exclude_max=True)


def test_one_of_four_goes_and_the_next_when_it_is_over() -> None:
    recycling = Recycling()
    for worker in (3, 1, 2):
        recycling.ask(worker)
    assert recycling.grant(4) == [3]
    assert recycling.grant(4) == []
    recycling.over(3)
    assert recycling.grant(4) == [1]


def test_a_quarter_is_rounded_up() -> None:
    for slots, bound in {1: 1, 4: 1, 5: 2, 8: 2, 9: 3, 100: 25}.items():
        recycling = Recycling()
        for worker in range(slots):
            recycling.ask(worker)
        assert recycling.grant(slots) == list(range(bound))


def test_fewer_slots_than_there_were_let_nobody_go() -> None:
    recycling = Recycling()
    for worker in range(8):
        recycling.ask(worker)
    assert recycling.grant(8) == [0, 1]
    assert recycling.grant(4) == []
    recycling.over(0)
    assert recycling.grant(4) == []
    recycling.over(1)
    assert recycling.grant(4) == [2]


def test_who_asks_again_goes_to_the_end() -> None:
    recycling = Recycling()
    for worker in (1, 2):
        recycling.ask(worker)
    assert recycling.grant(1) == [1]
    recycling.ask(1)  # nothing new
    recycling.over(1)
    recycling.ask(1)
    assert recycling.grant(1) == [2]
    recycling.over(2)
    assert recycling.grant(1) == [1]


@given(
    slots=st.integers(1, 40),
    wishes=st.lists(st.integers(0, 30)),
    ends=st.lists(st.integers(0, 30)),
    data=st.data(),
)
def test_the_bound_holds_and_everybody_goes_once_in_order(
    slots: int, wishes: list[int], ends: list[int], data: st.DataObject
) -> None:
    recycling = Recycling()
    gone: list[int] = []
    going: set[int] = set()
    asked = list(dict.fromkeys(wishes))
    for worker in wishes:
        recycling.ask(worker)
    while len(gone) < len(asked):
        granted = recycling.grant(slots)
        assert granted or going, "nobody moves"
        gone += granted
        going.update(granted)
        assert len(going) == recycling.going
        assert len(going) <= -(-slots // SHARE)
        worker = data.draw(st.sampled_from(sorted(going)))
        recycling.over(worker)
        going.remove(worker)
    assert gone == asked
    for worker in ends:
        recycling.over(worker)
    assert recycling.grant(slots) == []


@given(lifetime=st.floats(1, 1e9), max_rss=st.integers(1 << 20, 1 << 50), jitter=JITTERS)
def test_limits_vary_by_a_tenth(lifetime: float, max_rss: int, jitter: float) -> None:
    limits = Limits.draw(lifetime, max_rss, jitter)
    assert lifetime <= limits.lifetime <= lifetime * (1 + JITTER)
    assert max_rss * (1 - JITTER) - 1 <= limits.max_rss <= max_rss
    assert limits.outlived(lifetime * (1 + JITTER))
    assert not limits.outlived(lifetime * 0.99)
    assert limits.outgrown(max_rss)
    assert not limits.outgrown(int(max_rss * 0.89))


@given(JITTERS)
def test_off_is_off(jitter: float) -> None:
    limits = Limits.draw(0.0, 0, jitter)
    assert not limits.outlived(1e12)
    assert not limits.outgrown(1 << 60)
