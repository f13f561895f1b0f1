"""Every cell once in a round, and the same load for all who are compared."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness.plan import Options, Subject, Visit, expected, plan
from benchmarks.peers import Node, Peer
from benchmarks.study.workloads import WORKLOADS, Workload

ROWS = list(WORKLOADS.values())


def nobody(workload: Workload) -> Peer:  # noqa: ARG001 - what a subject makes of any workload
    return Node()


def block(visit: Visit) -> tuple[int, str, float]:
    return visit.round, visit.workload.name, visit.load


@given(
    subjects=st.integers(1, 5),
    rows=st.integers(1, 4),
    loads=st.lists(st.sampled_from([0.5, 0.7, 0.9]), min_size=1, unique=True),
    rounds=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_every_round_visits_every_cell_once(
    subjects: int, rows: int, loads: list[float], rounds: int, seed: int
) -> None:
    compared = [Subject(f"s{number}", nobody) for number in range(subjects)]
    visits = plan(compared, ROWS[:rows], loads, rounds, seed)
    assert visits == plan(compared, ROWS[:rows], loads, rounds, seed)
    cells = Counter((*block(visit), visit.subject.name) for visit in visits)
    assert len(cells) == len(visits) == subjects * rows * len(loads) * rounds
    assert [visit.round for visit in visits] == sorted(visit.round for visit in visits)
    # Those who are compared follow each other, under the same arrivals, which nobody else has.
    blocks = [list(group) for _, group in groupby(visits, block)]
    assert [len(one) for one in blocks] == [subjects] * (rows * len(loads) * rounds)
    seeds = [{visit.seed for visit in one} for one in blocks]
    assert all(len(one) == 1 for one in seeds)
    assert len(set.union(*seeds)) == len(blocks)


def test_rounds_have_other_orders() -> None:
    compared = [Subject(f"s{number}", nobody) for number in range(8)]
    visits = plan(compared, ROWS[:1], [0.7], 4, 1)
    orders = [
        tuple(visit.subject.name for visit in group)
        for _, group in groupby(visits, lambda visit: visit.round)
    ]
    assert len(set(orders)) == 4


@pytest.mark.parametrize(
    ("name", "seconds"), [("uniform", 2.0), ("slow-worker", 2.0), ("stopped-worker", 2.75)]
)
def test_a_visit_takes_its_load_and_half_of_a_trouble_that_outlasts_it(
    name: str, seconds: float
) -> None:
    visit = Visit(1, WORKLOADS[name], 0.7, Subject("s", nobody), 1)
    options = Options(duration=1.5, warm_up=0.3)
    assert expected(visit, options) == pytest.approx(seconds)
    assert expected(visit, replace(options, duration=5.0)) == pytest.approx(5.5)
