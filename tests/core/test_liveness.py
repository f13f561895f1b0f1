"""Heartbeats against the master's own ticks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.liveness import GRACE, LATE, SILENCE, TICK, Liveness, Verdict

SILENT_TICKS = round(SILENCE / TICK)
GRACE_TICKS = round(GRACE / TICK)


class Master:
    """Looks every tick at workers whose counters the test moves."""

    def __init__(self, timeout: float = 30.0) -> None:
        self.liveness = Liveness(timeout)
        self.now = 0.0
        self.counters = {1: 0}
        self.look()

    def look(self, after: float = TICK) -> list[tuple[int, Verdict]]:
        self.now += after
        return self.liveness.look(self.now, self.counters)

    def ticks(self, count: int, *beating: int) -> dict[int, list[tuple[int, Verdict]]]:
        """What is said at which of the next ticks, counted from 1."""
        said = {}
        for number in range(1, count + 1):
            for worker in beating:
                self.counters[worker] += 1
            if verdicts := self.look():
                said[number] = verdicts
        return said


class TestAWorkerThatFallsSilent:
    @pytest.mark.parametrize("timeout", [2.0, 5.0, 30.0])
    def test_it_is_held_dumped_and_killed_at_the_right_ticks(self, timeout: float) -> None:
        dump = round(timeout / TICK)
        said = Master(timeout).ticks(dump + GRACE_TICKS)
        assert said == {
            SILENT_TICKS: [(1, Verdict.SILENT)],
            dump: [(1, Verdict.DUMP)],
            dump + GRACE_TICKS: [(1, Verdict.KILL)],
        }

    def test_a_timeout_shorter_than_the_silence_still_says_things_in_order(self) -> None:
        said = Master(0.1).ticks(SILENT_TICKS + 1 + GRACE_TICKS)
        assert list(said.values()) == [
            [(1, v)] for v in (Verdict.SILENT, Verdict.DUMP, Verdict.KILL)
        ]

    def test_a_timeout_of_zero_never_kills(self) -> None:
        assert Master(0.0).ticks(4000) == {SILENT_TICKS: [(1, Verdict.SILENT)]}

    def test_a_kill_that_did_not_help_is_said_again(self) -> None:
        master = Master(2.0)
        master.ticks(round(2.0 / TICK) + GRACE_TICKS)
        assert master.look() == [(1, Verdict.KILL)]

    def test_a_beat_brings_it_back_with_a_full_clock(self) -> None:
        master = Master(5.0)
        assert master.ticks(SILENT_TICKS + 2) == {SILENT_TICKS: [(1, Verdict.SILENT)]}
        assert master.ticks(1, 1) == {1: [(1, Verdict.BEAT)]}
        assert master.ticks(SILENT_TICKS) == {SILENT_TICKS: [(1, Verdict.SILENT)]}

    def test_a_beat_before_the_silence_is_not_worth_a_word(self) -> None:
        master = Master()
        master.ticks(SILENT_TICKS - 1)
        assert master.ticks(1, 1) == {}

    def test_a_counter_that_goes_back_is_a_beat_too(self) -> None:
        """A row that is used again begins at 0."""
        master = Master()
        master.counters[1] = 50
        master.look()
        master.ticks(SILENT_TICKS)
        master.counters[1] = 0
        assert master.look() == [(1, Verdict.BEAT)]


class TestALateTick:
    @pytest.mark.parametrize("silent_for", [0, 1, SILENT_TICKS - 1])
    def test_it_starts_the_clock_again(self, silent_for: int) -> None:
        master = Master()
        master.ticks(silent_for)
        assert master.look(after=40.0) == []
        assert master.ticks(SILENT_TICKS) == {SILENT_TICKS: [(1, Verdict.SILENT)]}

    def test_a_suspend_of_40_s_kills_nobody(self) -> None:
        """Everybody was stopped; the workers need a moment to beat again."""
        master = Master(2.0)
        master.ticks(8, 1)
        assert master.look(after=40.0) == []
        assert master.ticks(2) == {}
        assert master.ticks(20, 1) == {}

    def test_a_silent_worker_stays_silent_but_its_clock_to_the_kill_starts_again(self) -> None:
        master = Master(5.0)
        dump = round(5.0 / TICK)
        master.ticks(dump - 1)
        assert master.look(after=40.0) == []
        assert master.ticks(dump - SILENT_TICKS) == {dump - SILENT_TICKS: [(1, Verdict.DUMP)]}

    def test_many_suspends_in_a_row_kill_nobody(self) -> None:
        master = Master(2.0)
        assert [master.look(after=LATE + 0.01) for _ in range(100)] == [[]] * 100

    def test_a_beat_during_it_counts(self) -> None:
        master = Master()
        master.ticks(SILENT_TICKS)
        master.counters[1] += 1
        assert master.look(after=40.0) == [(1, Verdict.BEAT)]


class TestWhoIsJudged:
    def test_a_new_worker_starts_with_a_full_clock(self) -> None:
        master = Master(2.0)
        master.ticks(6)
        master.counters[2] = 0
        assert master.look() == []
        assert master.ticks(SILENT_TICKS)[SILENT_TICKS] == [(2, Verdict.SILENT)]

    def test_who_is_not_looked_at_is_forgotten(self) -> None:
        master = Master(2.0)
        master.ticks(3)
        del master.counters[1]
        assert master.ticks(100) == {}
        assert master.liveness.age(1) is None
        master.counters[1] = 0
        assert master.look() == []

    def test_workers_are_judged_apart(self) -> None:
        master = Master(2.0)
        master.counters[2] = 0
        master.look()
        said = master.ticks(12, 2)
        assert {worker for verdicts in said.values() for worker, _ in verdicts} == {1}

    def test_the_age_is_counted_in_ticks(self) -> None:
        master = Master()
        assert master.liveness.age(1) == 0.0
        assert master.liveness.age(2) is None
        master.ticks(3)
        assert master.liveness.age(1) == 3 * TICK
        master.ticks(1, 1)
        assert master.liveness.age(1) == 0.0


@given(st.lists(st.floats(0.01, 100), max_size=60), st.sampled_from([0.0, 0.5, 2.0, 30.0]))
def test_a_worker_that_beats_at_every_tick_never_hears_anything(
    pauses: list[float], timeout: float
) -> None:
    master = Master(timeout)
    for pause in pauses:
        master.counters[1] += 1
        assert master.look(after=pause) == []


@given(st.lists(st.booleans(), max_size=80), st.sampled_from([0.0, 0.5, 2.0, 5.0]))
def test_silent_and_beat_alternate_and_the_kill_comes_last(
    beats: list[bool], timeout: float
) -> None:
    master, silent = Master(timeout), False
    for beat in beats:
        master.counters[1] += beat
        for _, verdict in master.look():
            if verdict is Verdict.SILENT:
                assert not silent
                silent = True
            elif verdict is Verdict.BEAT:
                assert silent
                silent = False
            else:
                assert silent
                assert timeout
