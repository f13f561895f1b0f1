"""The parts: the clock, the histogram, the cost of a pick, the comparison with reality."""

from __future__ import annotations

import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.policy import KERNEL_POLICIES, POLICIES
from benchmarks.generator.offer import Harvest, Offer
from benchmarks.simulate.clock import Clock
from benchmarks.simulate.estimate import estimate
from benchmarks.simulate.picks import cost, costs
from benchmarks.simulate.reality import Pair, Reality, compare
from benchmarks.simulate.subjects import maker, policies, weights
from benchmarks.simulate.tally import CURVE, Histogram
from benchmarks.study.choice import ChoiceError
from benchmarks.study.workloads import WORKLOADS


class Backwards:
    """A policy of a user's own: the last that was offered."""

    uses_load = False
    uses_key = False

    def __init__(self) -> None:
        self.members: list[int] = []

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:
        del load, weight
        if member not in self.members:
            self.members.append(member)

    def withdraw(self, member: int) -> None:
        if member in self.members:
            self.members.remove(member)

    forget = withdraw

    def pick(self, key: bytes = b"") -> int | None:
        del key
        return self.members.pop() if self.members else None

    def __len__(self) -> int:
        return len(self.members)


class TestClock:
    @given(st.lists(st.floats(0, 0.01), max_size=50))
    def test_everything_happens_in_its_order(self, times: list[float]) -> None:
        clock, seen = Clock(), list[tuple[float, int]]()
        for number, time in enumerate(times):
            clock.at(time, lambda number: seen.append((clock.now, number)), number)
        clock.run()
        assert seen == sorted((time, number) for number, time in enumerate(times))

    def test_what_happens_may_plan_more(self) -> None:
        clock, seen = Clock(), list[float]()

        def again(left: int) -> None:
            seen.append(clock.now)
            if left:
                clock.at(clock.now + 0.7 * left, again, left - 1)

        clock.at(1.0, again, 2)
        clock.run()
        assert seen == pytest.approx([1.0, 2.4, 3.1])


class TestHistogram:
    @given(st.lists(st.floats(1e-6, 1000.0), min_size=1, max_size=200), st.sampled_from(CURVE))
    def test_percentiles_have_three_digits(self, times: list[float], percent: float) -> None:
        histogram = Histogram()
        for time in times:
            histogram.add(time)
        rank = max(1, -(-percent / 100 * len(times) // 1))
        assert histogram.percentile(percent) == pytest.approx(
            sorted(times)[int(rank) - 1], rel=0.001
        )

    def test_nothing_has_no_percentiles(self) -> None:
        assert Histogram().percentiles() == []
        assert Histogram().percentile(50) == Histogram().mean == 0.0

    def test_the_curve_has_what_a_sample_needs(self) -> None:
        assert sorted(set(CURVE)) == CURVE
        assert {0.0, 50.0, 90.0, 99.0, 99.9, 100.0} <= set(CURVE)


def test_control_variates_know_what_they_correct() -> None:
    # A queue of one server in which whatever comes waits for a tenth of its service time.
    random, jobs = Random(1), list[tuple[float, float]]()
    for _ in range(4000):
        jobs.append((random.expovariate(0.5), random.expovariate(1.0)))
    found = estimate([service / 10 for _, service in jobs], iter(jobs), 1, 0.5)
    assert found.mean == pytest.approx(0.1, rel=1e-3)
    assert found.error < 1e-3


class TestPicks:
    @pytest.mark.parametrize("policy", POLICIES)
    def test_every_policy_has_its_cost(self, policy: str) -> None:
        make = maker(policy)
        assert make is not None
        made = make(Random(1).random, lambda member: b"%d" % member)
        assert 0 < cost(made, 10, Random(1), seconds=0.001) < 0.01

    def test_the_kernel_picks_for_itself(self) -> None:
        for policy in KERNEL_POLICIES:
            assert not list(costs(policy))


class TestSubjects:
    def test_all_of_the_table(self) -> None:
        assert set(policies([])) == POLICIES.keys() | KERNEL_POLICIES

    def test_a_policy_of_ones_own(self) -> None:
        own = f"{Backwards.__module__}:Backwards"
        assert policies([own]) == [own]
        make = maker(own)
        assert make is not None
        policy = make(Random(1).random, lambda _: b"")
        for member in (1, 2, 3):
            policy.offer(member)
        assert [policy.pick() for _ in range(3)] == [3, 2, 1]

    def test_round_robin_takes_the_place_of_one_that_fails(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail(_self: Backwards, _key: bytes = b"") -> int:
            raise ZeroDivisionError("no more")

        own = f"{Backwards.__module__}:Backwards"
        monkeypatch.setattr(sys.modules[Backwards.__module__].Backwards, "pick", fail)
        make = maker(own)
        assert make is not None
        policy = make(Random(1).random, lambda _: b"")
        for member in (1, 2, 3):
            policy.offer(member)
        assert [policy.pick() for _ in range(3)] == [1, 2, 3]
        assert capsys.readouterr().err.count("ZeroDivisionError: no more") == 1

    @pytest.mark.parametrize("name", ["nobody", "no_such_module:Class", f"{__name__}:Nothing"])
    def test_one_that_does_not_exist(self, name: str) -> None:
        with pytest.raises(ChoiceError, match=name):
            policies([name])

    def test_a_user_weighs_a_slow_worker(self) -> None:
        assert weights("weighted", WORKLOADS["slow-worker"], 3) == [1, 10, 10]
        assert weights("weighted", WORKLOADS["uniform"], 3) == [1, 1, 1]
        assert weights("round-robin", WORKLOADS["slow-worker"], 3) == [1, 1, 1]


def test_reality_is_compared_by_percentile() -> None:
    asked: list[tuple[Reality, str]] = []

    def measure(reality: Reality, policy: str) -> Harvest:
        asked.append((reality, policy))
        return Harvest(percentiles=[(50.0, 0.030), (99.0, 10.0)])

    reality = Reality(simulated=5000)
    found = list(compare(reality, ["round-robin"], measure))
    assert asked == [(reality, "round-robin")]
    assert [(pair.what, pair.passed) for pair in found] == [("p50", True), ("p99", False)]
    assert found[0].measured == 0.03
    assert reality.rate == pytest.approx(140)


def test_a_quarter_is_allowed() -> None:
    assert Pair("first", "p50", 0.1, 0.124).passed
    assert not Pair("first", "p50", 0.1, 0.126).passed
    assert not Pair("first", "p50", 0.0, 0.1).passed


def test_an_offer_can_be_made_of_it() -> None:
    reality = Reality()
    offer = Offer(1, reality.rate, reality.duration, reality.workload.service)
    assert offer.service.mean == 0.02
