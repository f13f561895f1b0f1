"""A worker's doors against a model that remembers everything that was said."""

from __future__ import annotations

import math

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
        self.seats: float = math.inf
        self.parked = False  # the master's view: refused as full, not heard of room since
        self.closed = False
        self.shut: set[int] = set()

    @rule(lanes=st.sets(st.integers(0, 1)))
    def shut_lanes(self, lanes: set[int]) -> None:
        self.shut = self.admission.shut = lanes

    @rule(received=st.booleans(), lane=st.integers(0, 1))
    def offer(self, received: bool, lane: int) -> None:
        answer = self.admission.offered(received=received, lane=lane)
        if self.closed:
            assert answer is Refusal.DRAINING
        elif lane in self.shut:
            assert answer is Refusal.SHUT
        elif not received:
            assert answer is Refusal.NO_FDS
        elif self.inside == self.limit or not self.seats:
            assert answer is Refusal.FULL
            self.parked = True
        else:
            assert answer is None
            self.inside += 1

    @precondition(lambda self: self.inside)
    @rule()
    def end(self) -> None:
        self.inside -= 1
        self.hear(says_room=self.admission.ended())

    @rule(free=st.integers(0, 4))
    def seat(self, free: int) -> None:
        """An app that has seats says how many are free; requests of old connections take them."""
        self.seats = free
        self.hear(says_room=self.admission.seated(free))

    def hear(self, *, says_room: bool) -> None:
        may_come = not self.closed and self.inside < self.limit and self.seats > 0
        assert says_room == (self.parked and may_come)
        if says_room:
            self.parked = False

    @rule()
    def drain(self) -> None:
        self.admission.doors = Doors.CLOSED
        self.closed = True

    @rule()
    def put_back(self) -> None:
        self.closed = False
        self.hear(says_room=self.admission.reopened())

    @invariant()
    def it_counts_right(self) -> None:
        assert self.admission.active == self.inside <= self.limit
        room = 0 if self.closed else min(self.limit - self.inside, self.seats)
        assert self.admission.room == room
        assert self.admission.open == (room > 0)

    @invariant()
    def a_parked_worker_will_speak_up(self) -> None:
        """Parked with nobody inside and a seat free would be parked for ever."""
        assert not self.parked or self.inside or not self.seats or self.closed


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


def test_a_worker_without_a_free_seat_is_full_and_speaks_up_when_it_has_one() -> None:
    admission = Admission(10)
    admission.seated(1)
    assert admission.offered(received=True) is None
    assert not admission.seated(0)
    assert admission.offered(received=True) is Refusal.FULL
    assert not admission.ended()  # room for a connection, but its request would have to wait
    assert admission.seated(1)
    assert admission.offered(received=True) is None
