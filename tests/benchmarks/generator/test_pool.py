"""The generating processes: their parts are one load, and none outlives the pool."""

from __future__ import annotations

from time import monotonic

import pytest

from benchmarks.generator.ceiling import closed_loop
from benchmarks.generator.offer import Offer
from benchmarks.generator.pool import GeneratorError, Pool, run
from benchmarks.generator.trivial import own_server
from benchmarks.measure import command_line, processes
from benchmarks.study.service import Constant
from benchmarks.study.workloads import Clients


def offer(port: int, **more: float) -> Offer:
    return Offer(port, more.get("rate", 400.0), 0.2, Constant(0.0), processes=2, seed=5)


def test_two_processes_bring_one_load_at_the_time_that_they_say() -> None:
    times: list[float] = []
    with own_server() as port, Pool() as pool:
        first = pool.run(offer(port), times.append)
        ended = monotonic()
        again = pool.run(offer(port))
    assert 40 < first.due == first.answered == again.due == again.answered
    assert len(first.requests) == 1
    # It ends with the last answer, a little before the time is over.
    assert times[0] < ended < times[0] + 5


def test_a_process_that_ends_is_an_error_and_the_next_load_has_new_ones() -> None:
    with own_server() as port, Pool() as pool:
        pool.run(offer(port))
        pool._processes[0]._popen.kill()
        with pytest.raises(GeneratorError, match="a generating process has ended"):
            pool.run(offer(port))
        assert pool.run(offer(port)).answered


def test_a_closed_loop_brings_all_that_the_server_takes() -> None:
    with own_server() as port, Pool() as pool:
        rate = closed_loop(
            pool,
            Offer(
                port,
                50_000.0,
                0.2,
                Constant(0.0),
                clients=Clients.KEPT,
                connections=8,
                timeout=0.0,
            ),
        )
    assert rate > 500


def test_no_process_outlives_a_load() -> None:
    before = set(processes())
    with own_server() as port:
        assert run(offer(port)).answered
    started = set(processes()) - before
    assert not [pid for pid in started if "benchmarks.generator" in command_line(pid)]
