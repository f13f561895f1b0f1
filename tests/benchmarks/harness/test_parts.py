"""What the harness makes of counts, looks, names and times."""

from __future__ import annotations

import argparse
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.generator.offer import Harvest
from benchmarks.harness.arguments import add_options, loads_from, options_from, workloads_from
from benchmarks.harness.capacity import alike, doubt, nominal
from benchmarks.harness.cell import by_worker, sample_of
from benchmarks.harness.plan import Subject, Visit
from benchmarks.harness.progress import Bar, Pace, clock
from benchmarks.harness.status import Counters, StatusError, counters, read_counters
from benchmarks.harness.watch import Observed, observed
from benchmarks.peers import Node
from benchmarks.study.choice import ChoiceError, chosen
from benchmarks.study.workloads import WORKLOADS

UNIFORM = WORKLOADS["uniform"]


@given(
    st.dictionaries(st.integers(1, 9), st.integers(1, 99)),
    st.dictionaries(st.integers(1, 9), st.integers(1, 99)),
)
def test_counts_are_by_worker_with_zeros(
    connections: dict[int, int], requests: dict[int, int]
) -> None:
    first, second = by_worker(connections, requests, 4)
    assert len(first) == len(second) == max(4, len(connections.keys() | requests.keys()))
    assert first == sorted(first, reverse=True)
    assert sum(first) == sum(connections.values())
    assert sorted(filter(None, second)) == sorted(requests.values())


def test_what_looking_costs_is_taken_off_and_the_last_look_is_no_queue() -> None:
    looks = [Counters(10, 2, 1, {}), Counters(30, 4, 1, {}), Counters(50, 0, 3, {})]
    assert observed(0.5, 1.5, looks) == Observed(0.5, 1.5, 40, 2, 3.0, 4)
    assert observed(-0.001, 1.5, []) == Observed(0.0, 1.5)


def _visit(*, hands_over: bool = True) -> Visit:
    return Visit(1, UNIFORM, 0.7, Subject("s", lambda _: Node(), hands_over), 1)


HARVEST = Harvest(
    due=100,
    answered=98,
    within=90,
    errors={"eof": 2},
    seconds=2.0,
    connections={1: 50, 2: 48},
    requests={1: 50, 2: 48},
)


def test_a_sample_says_what_a_connection_costs_the_master() -> None:
    sample = sample_of(HARVEST, Observed(0.05, 0.98, 100, 3, 1.5, 4), _visit(), 4)
    assert (sample.offered, sample.throughput) == (50.0, 45.0)
    assert sample.connections == sample.requests == [50, 48, 0, 0]
    assert sample.master_cpu == pytest.approx(0.0005)
    assert sample.cpu == pytest.approx(0.01)
    assert (sample.recalls, sample.queue_mean, sample.queue_max) == (3, 1.5, 4)


def test_where_nobody_counts_the_clients_have_counted() -> None:
    sample = sample_of(HARVEST, Observed(0.049, 0.98), _visit(), 2)
    assert sample.master_cpu == pytest.approx(0.0005)
    assert sample.recalls is None


def test_who_hands_nothing_over_has_no_such_cost() -> None:
    sample = sample_of(HARVEST, Observed(0.05, 0.98, 0, 0, 0.0, 0), _visit(hands_over=False), 2)
    assert sample.master_cpu is None
    assert sample.recalls is None
    assert sample.queue_mean is None


def test_counters_are_sums_over_listeners() -> None:
    listener = {"accepted": 5, "queued": 1, "recalled": 2, "refused": 0}
    workers = [{"slot": 1, "pid": 70}, {"slot": 2, "pid": None}]
    reply = {"result": {"listeners": [listener, listener], "workers": workers}}
    assert read_counters(reply) == Counters(10, 2, 4, {1: 70})
    with pytest.raises(StatusError, match="the control socket"):
        counters("/no/such/socket")


def test_capacities_that_can_not_be_are_doubted() -> None:
    assert nominal(UNIFORM, 4) == pytest.approx(800)
    assert nominal(WORKLOADS["new-connections"], 4) is None
    assert doubt(UNIFORM, 700, 4) == ""
    assert "350 requests/s were measured" in doubt(UNIFORM, 350, 4)
    assert "900 requests/s were measured" in doubt(UNIFORM, 900, 4)
    assert alike(UNIFORM) == alike(WORKLOADS["slow-worker"]) != alike(WORKLOADS["few-clients"])


def test_the_time_left_follows_the_pace() -> None:
    pace = Pace(100.0)
    assert pace.left == 100.0
    pace.done(10.0, 20.0)
    assert (pace.left, pace.over) == (180.0, 10.0)
    assert [clock(seconds) for seconds in (41.6, 725, 3723)] == ["0:42", "12:05", "1:02:03"]


def test_the_bar_keeps_what_is_said() -> None:
    out = StringIO()
    with Bar(Console(file=out, width=100)) as bar:
        bar.expect(60.0)
        bar.step("uniform: [first]")
        bar.done(10.0, 10.0)
        bar.say("[node] is not on PATH")
    assert "[node] is not on PATH\n" in out.getvalue()


def _parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(arguments)


def test_quick_is_three_workloads_at_70_per_cent() -> None:
    quick = _parsed("--quick", "--workers", "2")
    assert (options_from(quick).rounds, options_from(quick).workers) == (1, 2)
    assert options_from(quick).duration >= 1
    assert len(workloads_from(quick)) == 3
    assert loads_from(quick) == [0.7]
    usual = _parsed("--load", "90", "--load", "50%", "--workload", "uniform")
    assert workloads_from(usual) == [UNIFORM]
    assert loads_from(usual) == [0.5, 0.9]
    assert (workloads_from(_parsed()), loads_from(_parsed())) == (
        list(WORKLOADS.values()),
        [0.5, 0.7, 0.9],
    )


@pytest.mark.parametrize("wrong", ["--load=0", "--load=x", "--duration=-1", "--rounds=0.5"])
def test_numbers_that_make_no_sense_are_refused(
    wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _parsed(wrong)
    assert ended.value.code == 2
    assert wrong.partition("=")[0] in capsys.readouterr().err


def test_a_name_that_does_not_exist_is_answered_with_those_that_do() -> None:
    assert chosen("--x", "xs", ["b", "a"], ["a", "b", "c"]) == ["a", "b"]
    with pytest.raises(ChoiceError, match="--x d: there is none; the xs are a, b"):
        chosen("--x", "xs", ["a", "d"], ["a", "b"])
