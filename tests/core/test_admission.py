"""A worker's doors against a model that remembers everything that was said."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from balancer.core.admission import Admission, Doors
from balancer.core.books import Refusal


class Told(RuleBasedStateMachine):
    """What the master knows by the answers alone must be enough to use the worker again."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = 3
        self.admission = Admission(self.limit)
        self.inside = 0
        self.parked = False  # the master's view: refused as full, not heard of room since
        self.closed = False

    @rule(received=st.booleans())
    def offer(self, received: bool) -> None:
        answer = self.admission.offered(received=received)
        if self.closed:
            assert answer is Refusal.DRAINING
        elif not received:
            assert answer is Refusal.NO_FDS
        elif self.inside == self.limit:
            assert answer is Refusal.FULL
            self.parked = True
        else:
            assert answer is None
            self.inside += 1

    @precondition(lambda self: self.inside)
    @rule()
    def end(self) -> None:
        self.inside -= 1
        says_room = self.admission.ended()
        assert says_room == (self.parked and not self.closed)
        if says_room:
            self.parked = False

    @rule()
    def drain(self) -> None:
        self.admission.doors = Doors.CLOSED
        self.closed = True

    @invariant()
    def it_counts_right(self) -> None:
        assert self.admission.active == self.inside <= self.limit
        assert self.admission.open == (not self.closed and self.inside < self.limit)

    @invariant()
    def a_parked_worker_will_speak_up(self) -> None:
        """Parked with nobody inside would be parked for ever."""
        assert not self.parked or self.inside or self.closed


TestTold = Told.TestCase
TestTold.settings = settings(max_examples=50, stateful_step_count=30)


@given(st.integers(1, 20), st.integers(0, 40))
def test_exactly_the_limit_is_taken(limit: int, offers: int) -> None:
    admission = Admission(limit)
    answers = [admission.offered(received=True) for _ in range(offers)]
    assert answers.count(None) == min(limit, offers)
    assert answers.count(Refusal.FULL) == max(0, offers - limit)


def test_room_is_said_once_for_many_refusals() -> None:
    admission = Admission(2)
    for _ in range(5):
        admission.offered(received=True)
    assert [admission.ended(), admission.ended()] == [True, False]
