"""The formulas against each other, known values, and the scheduler against the formulas."""

from __future__ import annotations

from itertools import accumulate
from statistics import fmean

import pytest

from benchmarks.simulate import theory
from benchmarks.simulate.run import simulate
from benchmarks.simulate.validate import (
    at_random,
    fullest,
    jobs,
    least_connections,
    mean_wait,
    p2c,
    queue,
    queues,
    tails,
)

SERVERS = (1, 2, 4, 16)
LOADS = (0.5, 0.7, 0.9)


class TestFormulas:
    def test_one_server_is_a_case_of_many(self) -> None:
        for load in LOADS:
            assert theory.erlang_c(1, load) == pytest.approx(load)
            assert theory.mmk_wait(1, load) == pytest.approx(theory.mm1_wait(load))

    def test_erlang_c_as_in_the_books(self) -> None:
        assert theory.erlang_c(2, 0.5) == pytest.approx(1 / 3)  # a² / (a + 2) for two servers
        assert theory.mmk_wait(2, 0.5, 3.0) == pytest.approx(1.0)

    def test_waiting_times_add_up_to_their_mean(self) -> None:
        step = 0.001
        tail = sum(theory.mmk_wait_exceeds(4, 0.7, i * step) for i in range(20_000)) * step
        assert tail == pytest.approx(theory.mmk_wait(4, 0.7), rel=0.01)

    def test_one_choice_fills_bins_as_poisson_says(self) -> None:
        shares = theory.bins(1)
        assert shares[:3] == pytest.approx([0.63212, 0.26424, 0.08030], abs=1e-5)
        assert sum(shares) == pytest.approx(1.0)

    def test_two_choices_fill_bins_as_mitzenmacher_says(self) -> None:
        # Table 1 of "The Power of Two Choices in Randomized Load Balancing"
        assert theory.bins(2)[:3] == pytest.approx([0.7616, 0.2295, 0.0089], abs=5e-5)

    def test_queues_that_are_joined_at_random_are_mm1(self) -> None:
        assert theory.supermarket_wait(1, 0.7) == pytest.approx(theory.mm1_wait(0.7))
        assert theory.supermarket(2, 0.9, 2) == pytest.approx([0.9, 0.9**3])

    def test_the_shorter_of_two_is_between_one_queue_and_chance(self) -> None:
        for load in (0.5, 0.7):
            wait = theory.jsq_of_two_wait(load)
            assert theory.mmk_wait(2, load) < wait < theory.supermarket_wait(1, load)
        # W. Grassmann (1980) has a mean time in the system of 1.426 at 50 %
        assert theory.jsq_of_two_wait(0.5) == pytest.approx(0.426, abs=5e-4)


class TestOneQueue:
    @pytest.mark.parametrize("servers", SERVERS)
    @pytest.mark.parametrize("load", LOADS)
    def test_every_single_wait_is_that_of_mmk(self, servers: int, load: float) -> None:
        # Without any statistics: who comes when, and stays how long, is drawn; the rest follows.
        setup = queue(servers, load, 4000, seed=7)
        waits = simulate(setup).tally.waits
        assert waits is not None
        gaps, services = zip(*jobs(setup), strict=True)
        known = theory.first_come_waits(servers, zip(accumulate(gaps), services, strict=True))
        assert list(waits) == pytest.approx(list(known), abs=1e-9)

    @pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (2, 0.5)])
    def test_mean_wait_is_erlangs(self, servers: int, load: float) -> None:
        found = mean_wait(servers, load, 60_000, seed=1)
        known = theory.mmk_wait(servers, load)
        assert found.mean == pytest.approx(known, rel=0.02)
        assert abs(found.mean - known) < 1.5 * found.error


class TestQueuesOfTheirOwn:
    def test_the_fullest_of_random_bins(self) -> None:
        assert fullest(at_random, 300, 20) == pytest.approx(theory.fullest_bin(1, 300), rel=0.1)

    def test_the_fullest_of_bins_with_two_choices(self) -> None:
        assert fullest(p2c, 300, 20) == pytest.approx(theory.fullest_bin(2, 300), rel=0.1)

    def test_two_choices_shorten_the_long_queues(self) -> None:
        # With a hundred queues and not without end the tail is a little thinner than the limit.
        shares = tails(p2c, 100, 0.7, 30_000, 4, seed=2)
        known = theory.supermarket(2, 0.7, 4)
        assert shares[:2] == pytest.approx(known[:2], rel=0.06)
        assert 0.7 * known[2] < shares[2] < 1.1 * known[2]
        assert shares[3] < 2 * known[3]

    def test_the_shorter_of_two_queues(self) -> None:
        waits = simulate(queues(2, 0.7, 40_000, 1, least_connections)).tally.waits
        assert waits is not None
        assert fmean(waits) == pytest.approx(theory.jsq_of_two_wait(0.7), rel=0.05)
