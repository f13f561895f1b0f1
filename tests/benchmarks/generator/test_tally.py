"""The account of several processes is the account of all that they did."""

from __future__ import annotations

from array import array
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.generator.histogram import LONGEST, STEPS, merged, packed, percentiles
from benchmarks.generator.offer import Offer
from benchmarks.generator.tally import Tally, gather
from benchmarks.study.service import Constant

OFFER = Offer(8000, rate=10.0, duration=2.0, service=Constant(0.0))
TIMES = st.lists(st.floats(1e-6, LONGEST), max_size=50)


@settings(max_examples=40)
@given(st.lists(TIMES, min_size=1, max_size=3))
def test_percentiles_are_those_of_all_values_to_three_digits(chunks: list[list[float]]) -> None:
    values = sorted(value for chunk in chunks for value in chunk)
    curve = percentiles(merged(packed(chunk) for chunk in chunks))
    if not values:
        assert curve == []
        return
    assert [step for step, _ in curve] == list(STEPS)
    assert all(low <= high for (_, low), (_, high) in pairwise(curve))
    by_step = dict(curve)
    # The package's ranks are rounded half up; so are these.
    for step in (50.0, 90.0, 99.0, 100.0):
        rank = max(1, int(step / 100 * len(values) + 0.5))
        assert by_step[step] == pytest.approx(values[rank - 1], rel=2e-3, abs=1e-6)


def test_what_takes_for_ever_is_recorded_as_the_longest() -> None:
    assert percentiles(merged([packed([1e9])]))[-1][1] == pytest.approx(LONGEST, rel=1e-3)


def test_a_harvest_is_the_sum_of_the_tallies() -> None:
    one = Tally(
        due=3,
        answered=2,
        within=2,
        latencies=packed([0.1, 0.2]),
        latency=0.3,
        lags=array("d", [0.001] * 3),
        errors=Counter(eof=1),
        connections=Counter({7: 1}),
        requests=Counter({7: 2}),
        cpu_share=0.2,
    )
    two = Tally(
        due=1,
        answered=1,
        latencies=packed([0.6]),
        latency=0.6,
        lags=array("d", [0.0]),
        connections=Counter({7: 1, 8: 0}),
        requests=Counter({7: 1}),
        cpu_share=0.1,
    )
    harvest = gather(OFFER, [one, two])
    assert (harvest.due, harvest.answered, harvest.within) == (4, 3, 2)
    assert harvest.errors == {"eof": 1}
    assert harvest.mean == pytest.approx(0.3)
    assert (harvest.requests, harvest.connections[7]) == ({7: 3}, 2)
    assert (harvest.cpu_share, harvest.seconds, harvest.saturated) == (0.2, 2.0, "")
    assert harvest.lag_p99 == 0.001


@pytest.mark.parametrize(
    ("tally", "why"),
    [
        (Tally(cpu_share=0.97), "used 97% of a core"),
        (Tally(lags=array("d", [0.0] * 90 + [0.012] * 10)), "sent 12.0 ms late"),
        (Tally(shortage="the generator has no port left"), "no port left"),
    ],
)
def test_a_generator_that_could_not_says_why(tally: Tally, why: str) -> None:
    assert why in gather(OFFER, [Tally(), tally]).saturated
