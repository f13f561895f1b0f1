"""What samples come to, who is best, and what two studies differ by."""

from __future__ import annotations

from itertools import pairwise
from math import inf, isinf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.report import units
from benchmarks.report.columns import bars, groups
from benchmarks.report.compare import Verdict, compare
from benchmarks.report.figures import curve, summarise
from benchmarks.report.matrix import Rank, Table, usual_load
from benchmarks.report.plots.labels import moved_apart
from benchmarks.study.statistics import chance_apart, coverage, interval, ratio
from tests.benchmarks.report import studies

FLOATS = st.floats(1e-6, 1e3)


@given(st.lists(FLOATS, min_size=1, max_size=60))
def test_a_median_is_within_its_bounds(samples: list[float]) -> None:
    found = interval(samples)
    assert found is not None
    assert min(samples) <= found.low <= found.middle <= found.high <= max(samples)
    if len(samples) < 6:
        assert (found.low, found.high) == (min(samples), max(samples))


def test_bounds_are_the_innermost_samples_that_are_sure_enough() -> None:
    # Le Boudec's table: ranks 1 and 6 of 6, 2 and 9 of 10, 6 and 15 of 20.
    for count, low, high in ((6, 1, 6), (10, 2, 9), (20, 6, 15)):
        found = interval([float(rank) for rank in range(1, count + 1)])
        assert found is not None
        assert (found.low, found.high) == (low, high)
    assert coverage(10, 2) == pytest.approx(0.9785, abs=1e-4)


def test_chance_keeps_small_samples_apart_more_often() -> None:
    assert chance_apart(3, 3) == pytest.approx(0.1)
    assert chance_apart(1, 1) == 1.0
    assert chance_apart(6, 6) < 0.01


def test_a_ratio_is_as_wide_as_both_make_it() -> None:
    found = ratio(interval([8.0, 10.0, 12.0]), interval([4.0, 5.0, 6.0]))
    assert found is not None
    assert (found.middle, found.low, found.high) == (2.0, 8 / 6, 3.0)
    assert ratio(interval([1.0]), None) is None
    assert ratio(interval([inf]), interval([1.0])) is None
    assert ratio(interval([1.0]), interval([0.0])) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"), (5.1e-3, "5.10 ms"), (2.034, "2.03 s"), (48e-6, "48.0 µs"), (inf, "–"),
        (0.99996, "1.00 s"), (0.1234, "123 ms"), (3e-7, "300 ns"), (None, "–"), (1234.0, "1,234 s"),
    ],
)  # fmt: skip
def test_durations_have_three_digits(seconds: float | None, text: str) -> None:
    assert units.duration(seconds) == text


def test_who_answers_nothing_is_not_the_fastest() -> None:
    matrix = Table(studies.awkward()).matrix(0.7)
    dead = matrix.entries["updown", "uniform"]
    assert dead.rank is Rank.FAILED
    assert dead.p99 is not None
    assert isinf(dead.p99.middle)
    assert matrix.entries["least-connections", "uniform"].rank is Rank.BEST


def test_who_leaves_requests_unanswered_is_not_the_best() -> None:
    entry = Table(studies.awkward()).matrix(0.7).entries["least-connections", "blocked-worker"]
    assert entry.rank is Rank.FAILED
    assert entry.figures is not None
    assert entry.figures.errors == {"timeout": 400, "reset": 6}


def test_missing_cells_have_no_rank_and_every_pair_is_there() -> None:
    study = studies.awkward()
    matrix = Table(study).matrix(0.7)
    assert matrix.entries["p2c", "uniform"].rank is Rank.NONE
    assert matrix.entries["updown", "blocked-worker"].figures is None
    assert set(matrix.entries) == {(s, w) for s in matrix.subjects for w in matrix.workloads}


def test_one_is_best_in_each_column_and_single_samples_are_as_good_as_nobody() -> None:
    matrix = Table(studies.policies(rounds=1)).matrix(0.5)
    for workload in matrix.workloads:
        ranks = [matrix.entries[subject, workload].rank for subject in matrix.subjects]
        assert ranks.count(Rank.BEST) == 1
        assert Rank.AS_GOOD not in ranks


def test_the_usual_load_is_the_nearest_to_seventy_per_cent() -> None:
    assert usual_load([0.5, 0.9, 0.7]) == 0.7
    assert usual_load([0.9]) == 0.9
    assert usual_load([]) is None


def test_a_curve_ends_where_there_are_no_answers_to_tell() -> None:
    cell = studies.policies(("random",), ("uniform",), (0.7,)).cells[0]
    points = curve(cell)
    assert 500 < points[-1][0] <= min(sample.answered for sample in cell.samples)
    assert all(before < after for (before, _), (after, _) in pairwise(points))
    cell.samples = []
    assert curve(cell) == []


def test_requests_stay_with_the_worker_whose_connections_they_are() -> None:
    cell = studies.policies(("random",), ("uniform",), (0.7,), rounds=1).cells[0]
    sample = cell.samples[0]
    sample.connections[:] = [1, 9, 5]
    sample.requests[:] = [70, 20, 10]
    found = summarise(cell)
    assert [*found.connections] == [9.0, 5.0, 1.0]
    assert [*found.requests] == [20.0, 10.0, 70.0]


@given(st.lists(st.floats(0, 100), max_size=200), st.integers(1, 40))
def test_groups_keep_everybody(counts: list[float], most: int) -> None:
    cut = groups(counts, most)
    assert [count for group in cut for count in group] == counts
    assert len(cut) == min(most, len(counts))
    assert all(cut)


def test_bars_of_a_thousand_workers_are_eight() -> None:
    cell = studies.many_workers().cells[2]
    assert len(bars(summarise(cell))) == 8


@given(st.lists(st.floats(-1, 2), max_size=30), st.floats(0.001, 0.2))
def test_labels_keep_their_order_and_their_distance(wanted: list[float], gap: float) -> None:
    placed = moved_apart(wanted, gap, 0.0, 1.0)
    least = min(gap, 1 / max(1, len(wanted) - 1))
    ordered = sorted(range(len(wanted)), key=lambda place: wanted[place])
    for before, after in pairwise(ordered):
        assert placed[after] - placed[before] >= least - 1e-9
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in placed)


def test_a_study_differs_from_itself_in_nothing() -> None:
    study = studies.policies(studies.POLICIES[:3], ("uniform",))
    found = compare(study, study)
    assert {change.verdict for change in found.changes.values()} == {Verdict.SAME}
    assert {change.ratio.middle for change in found.changes.values() if change.ratio} == {1.0}
    assert found.doubt == ""


def test_a_study_twice_as_fast_is_better_beyond_the_bounds() -> None:
    old = studies.policies(("p2c", "random"), ("uniform",), (0.7,))
    new = studies.policies(("p2c", "first"), ("uniform",), (0.7,), seed=2, better=2.0)
    found = compare(old, new)
    assert found.subjects == ("p2c",)
    assert found.left_out == 2
    assert found.changes["p2c", "uniform", 0.7, "p99"].verdict is Verdict.BETTER
    back = compare(new, old)
    assert back.changes["p2c", "uniform", 0.7, "p99"].verdict is Verdict.WORSE
    assert "10% of the cells" in found.doubt


def test_one_sample_proves_nothing() -> None:
    old = studies.policies(("p2c",), ("uniform",), (0.7,), rounds=1)
    new = studies.policies(("p2c",), ("uniform",), (0.7,), rounds=3, better=9.0)
    verdicts = {change.verdict for change in compare(old, new).changes.values()}
    assert verdicts == {Verdict.UNKNOWN}
