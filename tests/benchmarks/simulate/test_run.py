"""Whole runs: nothing is lost, nothing depends on chance but the seed, and trouble shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.core.policy import KERNEL_POLICIES, POLICIES
from benchmarks.simulate.cells import Visit, plan, sample, setup_for
from benchmarks.simulate.doors import KERNELS
from benchmarks.simulate.run import Outcome, simulate
from benchmarks.simulate.setup import SECONDS, Setup
from benchmarks.study.workloads import WORKLOADS

ALL = [*POLICIES, *sorted(KERNEL_POLICIES)]


def setup_of(policy: str, workload: str = "uniform", count: int = 2000, seed: int = 1) -> Setup:
    return setup_for(Visit(policy, WORKLOADS[workload], 4, 0.7), count, seed, SECONDS)


def account(outcome: Outcome) -> tuple[int, int]:
    """How many requests were due, and how many have ended, each counted once."""
    return outcome.tally.due, outcome.tally.answered + sum(outcome.tally.errors.values())


@pytest.mark.parametrize("policy", ALL)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_policy_answers_every_request(policy: str, workload: str) -> None:
    outcome = simulate(setup_of(policy, workload, 1000))
    assert account(outcome) == (1000, 1000)
    assert not outcome.tally.errors
    found = sample(setup_of(policy, workload, 1000), outcome)
    assert found.answered == sum(found.requests) == 900  # without the warm-up
    assert found.percentiles[0][0] == 0
    assert found.percentiles[-1][0] == 100.0
    assert found.percentiles[-1][1] == pytest.approx(outcome.tally.latencies.most, rel=0.001)


def test_every_kernel_policy_has_its_model() -> None:
    assert KERNELS.keys() == KERNEL_POLICIES


@pytest.mark.parametrize("policy", ALL)
def test_a_seed_makes_the_run(policy: str) -> None:
    first, again, other = (
        sample(setup, simulate(setup))
        for setup in (setup_of(policy, seed=3), setup_of(policy, seed=3), setup_of(policy, seed=4))
    )
    assert first == again
    assert first != other


@settings(max_examples=40, deadline=None)
@given(
    policy=st.sampled_from(ALL),
    workload=st.sampled_from(list(WORKLOADS)),
    workers=st.integers(1, 20),
    window=st.integers(1, 4),
    limit=st.integers(1, 50),
    kills=st.sampled_from([0.0, 5.0, 100.0]),
    respawn=st.sampled_from([0.0, 0.02, 0.5]),
    load=st.sampled_from([0.3, 0.9, 1.2]),
    seed=st.integers(0, 99),
)
def test_every_request_ends_exactly_once(
    policy: str, workload: str, workers: int, window: int, limit: int, kills: float,
    respawn: float, load: float, seed: int,
) -> None:  # fmt: skip
    setup = setup_for(Visit(policy, WORKLOADS[workload], workers, load), 300, seed, SECONDS, kills)
    outcome = simulate(replace(setup, window=window, limit=limit, respawn=respawn))
    assert account(outcome) == (300, 300)
    assert outcome.tally.errors.keys() <= {"worker died"}


def test_what_a_dead_worker_had_not_received_is_not_lost() -> None:
    # At 120 % load every worker always has one more in its socket.
    setup = replace(setup_of("round-robin", count=4000), rate=960.0, kills=5.0)
    outcome = simulate(setup)
    deaths = outcome.tally.errors["worker died"]
    assert deaths >= 10  # at most the one that it works on
    assert outcome.redelivered == 0  # nobody had to guess


class TestBlockedWorker:
    def test_recall_saves_who_waits_for_it(self) -> None:
        outcome = simulate(setup_of("round-robin", "blocked-worker", 10_000))
        assert outcome.recalls
        assert 0.1 < outcome.tally.latencies.most < 0.15

    def test_without_recall_they_wait_as_in_node(self) -> None:
        setup = setup_of("round-robin", "blocked-worker", 10_000)
        outcome = simulate(replace(setup, recall=None, lead=None))
        assert outcome.recalls == 0
        assert 1.8 < outcome.tally.latencies.most < 2.1

    def test_a_queue_of_its_own_holds_everybody(self) -> None:
        outcome = simulate(setup_of("reuseport", "blocked-worker", 10_000))
        assert outcome.tally.latencies.percentile(90) > 0.5


def test_a_stopped_worker_is_recalled_from() -> None:
    outcome = simulate(setup_of("round-robin", "stopped-worker", 10_000))
    assert outcome.recalls
    # only what it was working on when it was stopped had to wait for its end
    assert outcome.tally.latencies.percentile(99.9) < 0.2


def test_a_shared_listener_is_uneven_while_there_is_little_to_do() -> None:
    setup = setup_for(Visit("shared", WORKLOADS["uniform"], 4, 0.1), 2000, 1, SECONDS)
    counts = simulate(setup).tally.connections
    assert counts[0] > 0.6 * sum(counts)
    assert counts == sorted(counts, reverse=True)


def test_least_connections_sees_connections_that_stay() -> None:
    least = simulate(setup_of("least-connections", "uneven-connections", 10_000))
    turns = simulate(setup_of("round-robin", "uneven-connections", 10_000))
    assert least.tally.latencies.percentile(99) < turns.tally.latencies.percentile(99)


def test_all_workers_are_busy_where_they_are_many() -> None:
    setup = setup_for(Visit("least-connections", WORKLOADS["uniform"], 200, 0.7), 5000, 1, SECONDS)
    outcome = simulate(setup)
    assert max(outcome.tally.requests) - min(outcome.tally.requests) <= 2


def test_a_plan_has_a_table_of_scale() -> None:
    workloads = [WORKLOADS["uniform"], WORKLOADS["heavy-tail"]]
    visits = plan(["round-robin"], workloads, [], 0.7)
    assert [(v.workload.name, v.workers) for v in visits] == [
        ("uniform", 4), ("heavy-tail", 4), ("uniform", 100), ("uniform", 1000),
    ]  # fmt: skip
    assert [v.workers for v in plan(["first"], workloads, [2, 9], 0.7)] == [2, 2, 9, 9]
