"""The table of a worker's states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.lifecycle import TRANSITIONS, Event, State, step

ORDER = [
    State.STARTING,
    State.READY,
    State.STALLED,
    State.DRAINED,
    State.DRAINING,
    State.STOPPING,
    State.DEAD,
]


def test_the_table_knows_every_state() -> None:
    assert set(TRANSITIONS) == set(State)


def test_every_event_means_something_somewhere() -> None:
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)


@pytest.mark.parametrize("state", State)
def test_exit_is_death_from_everywhere(state: State) -> None:
    assert step(state, Event.EXIT) is State.DEAD


@pytest.mark.parametrize("event", Event)
def test_death_is_final(event: Event) -> None:
    assert step(State.DEAD, event) is State.DEAD


def test_every_state_can_be_reached() -> None:
    reached, edge = {State.STARTING}, [State.STARTING]
    while edge:
        following = set(TRANSITIONS[edge.pop()].values()) - reached
        reached |= following
        edge += following
    assert reached == set(State)


def test_no_row_lists_an_event_that_changes_nothing() -> None:
    assert not [
        (state, event)
        for state, row in TRANSITIONS.items()
        for event, following in row.items()
        if following is state
    ]


@pytest.mark.parametrize("state", [state for state in State if state is not State.DEAD])
def test_stop_is_heard_by_all_the_living(state: State) -> None:
    assert step(state, Event.STOP) is State.STOPPING


@given(st.lists(st.sampled_from(Event)))
def test_nothing_leads_back_but_a_heartbeat_and_a_wish(events: list[Event]) -> None:
    """A worker that was told to leave is never ready again."""
    state = State.STARTING
    for event in events:
        before, state = state, step(state, event)
        if ORDER.index(state) < ORDER.index(before):
            assert state is State.READY
            assert (before, event) in {
                (State.STALLED, Event.BEAT),
                (State.DRAINED, Event.RESUME),
            }


@given(st.lists(st.sampled_from(Event)), st.sampled_from(Event))
def test_saying_it_twice_is_saying_it_once(events: list[Event], event: Event) -> None:
    state = State.STARTING
    for each in events:
        state = step(state, each)
    once = step(state, event)
    assert step(once, event) is once
