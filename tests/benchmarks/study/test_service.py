"""Service times: their means, and what they never are."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.study.service import BoundedPareto, Constant, Exponential, Mix, Service
from benchmarks.study.workloads import WORKLOADS

SERVICES: list[Service] = [
    Constant(0.005),
    Exponential(0.02),
    BoundedPareto(1.1, 0.001, 1.0),
    BoundedPareto(1.0, 0.001, 1.0),
    BoundedPareto(2.5, 0.001, 0.1),
    Mix(((0.25, Constant(0.02)), (0.75, Exponential(0.001)))),
]


@pytest.mark.parametrize("service", SERVICES, ids=repr)
def test_the_mean_is_what_is_drawn(service: Service) -> None:
    random = Random(7)
    count = 100_000
    mean = sum(service.draw(random) for _ in range(count)) / count
    # 4 % is more than four standard errors of the most scattered of them
    assert mean == pytest.approx(service.mean, rel=0.04)


@given(
    alpha=st.floats(0.3, 4),
    least=st.floats(1e-4, 0.1),
    times=st.floats(1.5, 1e4),
    seed=st.integers(0, 1000),
)
def test_a_bounded_tail_is_bounded(alpha: float, least: float, times: float, seed: int) -> None:
    service = BoundedPareto(alpha, least, least * times)
    random = Random(seed)
    drawn = [service.draw(random) for _ in range(20)]
    assert min(drawn) >= least * (1 - 1e-9)
    assert max(drawn) <= least * times * (1 + 1e-9)
    assert least * (1 - 1e-9) <= service.mean <= least * times * (1 + 1e-9)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_seed_draws_the_same_times(name: str) -> None:
    service = WORKLOADS[name].service
    first, second = Random(3), Random(3)
    assert [service.draw(first) for _ in range(50)] == [service.draw(second) for _ in range(50)]
