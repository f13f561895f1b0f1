"""Ratios pair rounds, floors are judged by the median, fairness has a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare import Floor, differences, jain, judge, paired_ratios
from benchmarks.loads import LoadError
from benchmarks.runner import Metric, Options, Results
from benchmarks.suite.fairness import counts_by_worker


def test_ratios_pair_the_rounds_that_both_have() -> None:
    ours = [{"rate": 2000.0}, {"rate": 3000.0}, None]
    theirs = [{"rate": 1000.0}, {"rate": 2000.0}, {"rate": 9000.0}]
    assert paired_ratios(ours, theirs, "rate") == [2.0, 1.5]


def test_differences_pair_the_rounds_too() -> None:
    results = Results("demo", (Metric("p50", "p50"),), Options())
    results.samples = {
        "ours": [{"p50": 3.0}, None, {"p50": 5.0}, {"p99": 1.0}],
        "direct": [{"p50": 1.0}, {"p50": 1.0}, {"p50": 2.5}, {"p50": 1.0}],
    }
    assert differences(results, "ours", "direct", "p50") == [2.0, 2.5]
    assert differences(results, "ours", "absent", "p50") == []


@pytest.mark.parametrize(
    ("rate", "goal", "words"),
    [
        (9.9, 0.0, "missed"),
        (10.0, 0.0, "met"),
        (11.0, 1.2, "floor met, goal missed"),
        (12.0, 1.2, "goal met"),
        (None, 0.0, "not measured"),
    ],
)
def test_a_floor_is_met_by_the_median(rate: float | None, goal: float, words: str) -> None:
    results = Results("demo", (Metric("rate", "req/s"),), Options())
    results.samples = {"theirs": [{"rate": 10.0}] * 3}
    if rate is not None:
        results.samples["ours"] = [{"rate": 1.0}, {"rate": rate}, {"rate": 99.0}]
    (verdict,) = judge(results, [Floor("rate", "ours", "theirs", 1.0, goal)])
    assert verdict.words == words


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20))
def test_jain_is_between_one_for_all_and_all_for_one(counts: list[int]) -> None:
    assert 1 / len(counts) - 1e-9 <= jain(counts) <= 1 + 1e-9


def test_jain_of_the_extremes() -> None:
    assert jain([20] * 5) == 1.0
    assert jain([100, 0, 0, 0, 0]) == pytest.approx(0.2)
    assert jain([0, 0]) == 1.0


def test_workers_without_an_answer_count_as_none() -> None:
    assert counts_by_worker([7, 9, 7, 7], 3) == [3, 1, 0]


def test_more_pids_than_workers_are_no_distribution() -> None:
    with pytest.raises(LoadError, match="3 processes"):
        counts_by_worker([1, 2, 3], 2)
