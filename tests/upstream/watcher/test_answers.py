"""What answers mean together: addresses are only ever replaced by addresses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balancer.upstream.watcher.answers import (
    NO_ADDRESS,
    Answer,
    Failed,
    Finding,
    combine,
    pause,
)

names = st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True).map(tuple)
ttls = st.floats(0, 1e6)
outcomes = st.builds(Answer, names, ttls) | st.builds(Failed, st.sampled_from(["late", "none"]))
families = st.lists(st.tuples(outcomes, names), min_size=1, max_size=2)


@given(families)
def test_addresses_are_never_replaced_by_none(
    answers: list[tuple[Answer | Failed, tuple[str]]],
) -> None:
    finding = combine(answers)
    if any(before for _, before in answers):
        assert finding.addresses
    if all(isinstance(answer, Failed) for answer, _ in answers):
        assert finding.addresses == tuple(each for _, before in answers for each in before)
    assert (finding.problem is None) == (
        all(isinstance(answer, Answer) for answer, _ in answers)
        and any(answer.addresses for answer, _ in answers if isinstance(answer, Answer))
    )


def test_each_family_goes_by_its_own_answer() -> None:
    new, late, empty = Answer(("new",), 5), Failed("late"), Answer((), 5)
    assert combine([(new, ("old",)), (empty, ("::1",))]) == Finding(("new",), None)
    assert combine([(new, ("old",)), (late, ("::1",))]) == Finding(("new", "::1"), "late")
    assert combine([(empty, ("old",)), (empty, ("::1",))]) == Finding(("old", "::1"), NO_ADDRESS)
    assert combine([(empty, ("old",)), (late, ())]) == Finding(("old",), "late")
    assert combine([(empty, ("old",)), (late, ("::1",))]) == Finding(("::1",), "late")


@given(st.lists(outcomes, min_size=1), st.floats(0, 1e4))
def test_the_pause_is_never_short_and_never_too_long(
    answers: list[Answer | Failed], longest: float
) -> None:
    seconds = pause(answers, longest)
    assert 1 <= seconds <= max(1, longest)
    if any(isinstance(each, Failed) for each in answers):
        assert seconds <= 5


def test_the_pause_is_the_shortest_ttl() -> None:
    assert pause([Answer(("a",), 30), Answer((), 3)], 60) == 3
    assert pause([Answer(("a",), 30), Answer((), 20)], 5) == 5
    assert pause([Answer(("a",), 30), Failed("late")], 60) == 5
