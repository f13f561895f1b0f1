"""Probes, ejections, panic and slow start: each rule by examples and over all numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.health import (
    LEAST_SHARE,
    LONGEST,
    Availability,
    EjectionConfig,
    Probation,
    availability,
    ejection,
    panics,
    remembered,
    share,
)

CONFIG = EjectionConfig()
COUNTS = st.integers(0, 100)
PERCENT = st.integers(0, 100)


class TestProbation:
    def test_it_takes_three_to_fall_and_two_to_rise(self) -> None:
        probation = Probation()
        ups = [probation.up]
        assert [probation.failed() for _ in range(4)] == [False, False, True, False]
        ups.append(probation.up)
        assert [probation.passed() for _ in range(3)] == [False, True, False]
        ups.append(probation.up)
        assert ups == [True, False, True]

    def test_a_pass_between_failures_forgives_them(self) -> None:
        probation = Probation(fall=2)
        assert not any([probation.failed(), probation.passed(), probation.failed()])
        assert probation.up
        assert probation.failed()

    def test_a_failure_between_passes_takes_them_back(self) -> None:
        probation = Probation(rise=2, fall=1)
        assert probation.failed()
        assert not any([probation.passed(), probation.failed(), probation.passed()])
        assert not probation.up

    @given(st.lists(st.booleans()), st.integers(1, 4), st.integers(1, 4))
    def test_it_flips_after_a_run_and_only_then(
        self, results: list[bool], rise: int, fall: int
    ) -> None:
        """The oracle looks back at the history, which the real one doesn't keep."""
        probation, up, since = Probation(rise, fall), True, 0
        for number, passed in enumerate(results, 1):
            needed = fall if up else rise
            recent = results[max(since, number - needed) : number]
            flips = len(recent) == needed and all(result is not up for result in recent)
            assert (probation.passed() if passed else probation.failed()) is flips
            if flips:
                up, since = not up, number
            assert probation.up is up


class TestEjection:
    def test_five_in_a_row_and_longer_each_time(self) -> None:
        assert ejection(4, 0, 0, 3, CONFIG) is None
        assert [ejection(5, already, 0, 3, CONFIG) for already in range(3)] == [10.0, 20.0, 30.0]
        assert ejection(6, 1000, 0, 3, CONFIG) == LONGEST

    def test_at_most_half_are_out(self) -> None:
        assert ejection(5, 0, 0, 1, CONFIG) is None  # the only one: where else to?
        assert ejection(5, 0, 0, 2, CONFIG) is not None
        assert ejection(5, 0, 1, 2, CONFIG) is None
        assert ejection(5, 0, 1, 3, CONFIG) is None
        assert ejection(5, 0, 1, 4, CONFIG) is not None

    def test_it_can_be_turned_off(self) -> None:
        assert ejection(10**6, 0, 0, 9, EjectionConfig(after=0)) is None
        assert ejection(10**6, 0, 0, 9, EjectionConfig(most=0)) is None

    @given(COUNTS, COUNTS, COUNTS, COUNTS, st.integers(1, 10), st.floats(0.1, 600), PERCENT)
    def test_its_bounds(
        self, run: int, already: int, ejected: int, total: int, after: int, time: float, most: int
    ) -> None:
        config = EjectionConfig(after, time, most)
        seconds = ejection(run, already, ejected, total, config)
        if seconds is None:
            assert run < after or ejected + 1 > total * most / 100
        else:
            assert run >= after
            assert ejected + 1 <= total * most / 100
            assert min(time, LONGEST) <= seconds <= LONGEST


class TestRemembered:
    def test_one_less_for_each_ten_seconds_of_health(self) -> None:
        assert remembered(3, 100.0, 50.0, CONFIG) == 3  # still out
        assert remembered(3, 100.0, 109.9, CONFIG) == 3
        assert remembered(3, 100.0, 110.0, CONFIG) == 2
        assert remembered(3, 100.0, 130.0, CONFIG) == 0
        assert remembered(3, 100.0, 1e9, CONFIG) == 0

    def test_a_long_illness_is_forgotten_in_five_minutes(self) -> None:
        assert remembered(10_000, 100.0, 100.0, CONFIG) == 30
        assert remembered(10_000, 100.0, 100.0 + LONGEST, CONFIG) == 0

    @given(st.floats(0.1, 600), st.integers(1, 200))
    def test_forgetting_what_is_over_the_longest_shortens_no_ejection(
        self, time: float, ejections: int
    ) -> None:
        config = EjectionConfig(time=time)
        counting = remembered(ejections, 0.0, 0.0, config)
        assert ejection(5, counting, 0, 9, config) == min(LONGEST, time * (ejections + 1))

    @given(COUNTS, st.floats(0, 1e6), st.floats(0, 1e6))
    def test_it_never_grows_with_time(self, ejections: int, one: float, two: float) -> None:
        earlier, later = sorted((one, two))
        before, after = (remembered(ejections, 0.0, now, CONFIG) for now in (earlier, later))
        assert 0 <= after <= before <= ejections


@pytest.mark.parametrize(
    ("drained", "down", "ejected_until", "expected"),
    [
        (False, False, 0.0, Availability.READY),
        (False, False, 10.0, Availability.READY),  # it ends at that moment
        (False, False, 10.1, Availability.EJECTED),
        (False, True, 10.1, Availability.DOWN),
        (True, True, 10.1, Availability.DRAINED),
        (True, False, 0.0, Availability.DRAINED),
    ],
)
def test_availability(
    drained: bool, down: bool, ejected_until: float, expected: Availability
) -> None:
    found = availability(drained=drained, down=down, ejected_until=ejected_until, now=10.0)
    assert found is expected


class TestPanic:
    def test_fewer_than_half(self) -> None:
        assert panics(0, 1, 50)
        assert not panics(1, 2, 50)
        assert panics(1, 3, 50)
        assert not panics(2, 3, 50)
        assert not panics(0, 0, 50)

    @given(COUNTS, COUNTS)
    def test_never_at_nought_and_at_a_hundred_unless_all_are_ready(
        self, ready: int, total: int
    ) -> None:
        assert not panics(ready, total, 0)
        assert panics(ready, total, 100) is (ready < total)


class TestShare:
    def test_a_tenth_and_then_evenly(self) -> None:
        assert [share(100.0, 100.0 + after, 20.0) for after in (0, 1, 5, 10, 20, 99)] == [
            LEAST_SHARE, LEAST_SHARE, 0.25, 0.5, 1.0, 1.0,
        ]  # fmt: skip

    def test_off_and_at_boot_it_is_whole(self) -> None:
        assert share(100.0, 100.0, 0.0) == 1.0
        assert share(-math.inf, 100.0, 20.0) == 1.0

    @given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e4))
    def test_its_bounds(self, since: float, now: float, slow_start: float) -> None:
        assert LEAST_SHARE <= share(since, now, slow_start) <= 1.0
