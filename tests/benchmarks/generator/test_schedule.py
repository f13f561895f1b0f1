"""Who asks when is a Poisson process, and the same one for everybody."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.generator.offer import Offer
from benchmarks.generator.schedule import LIFETIME, draw, parts, randomness, request
from benchmarks.study.service import Constant, Exponential
from benchmarks.study.workloads import Clients, Work

OFFER = Offer(8000, rate=1000.0, duration=2.0, service=Exponential(0.01), warm_up=0.5, seed=1)


@given(
    rate=st.floats(1.0, 5000.0),
    processes=st.integers(1, 4),
    seed=st.integers(0, 2**32),
    warm_up=st.floats(0.0, 0.5),
)
def test_what_is_due_rises_and_stays_in_the_time(
    rate: float, processes: int, seed: int, warm_up: float
) -> None:
    offer = replace(OFFER, rate=rate, processes=processes, seed=seed, warm_up=warm_up, duration=0.5)
    total = 0
    for part in parts(offer):
        schedule = draw(part)
        assert len(schedule.service) == len(schedule.due)
        assert list(schedule.due) == sorted(schedule.due)
        assert all(0 <= due < warm_up + 0.5 for due in schedule.due)
        total += len(schedule.due)
    expected = rate * (warm_up + 0.5)
    assert abs(total - expected) <= 7 * expected**0.5 + 7


def test_distances_are_exponential() -> None:
    (part,) = parts(replace(OFFER, processes=1, duration=20.0))
    due = draw(part).due
    gaps = [later - earlier for earlier, later in pairwise(due)]
    assert mean(gaps) == pytest.approx(0.001, rel=0.03)
    # Without memory: the share of those above the mean is 1/e.
    assert sum(gap > 0.001 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.015)


def test_everybody_who_is_offered_the_same_gets_the_same() -> None:
    first, second = parts(OFFER)
    assert draw(first) == draw(parts(replace(OFFER, port=9000))[0])
    assert draw(first) != draw(second)
    assert draw(first) != draw(parts(replace(OFFER, seed=2))[0])
    assert draw(first).due == draw(parts(replace(OFFER, service=Constant(1.0)))[0]).due


@given(connections=st.integers(1, 100), processes=st.integers(1, 8))
def test_connections_are_dealt_out_evenly(connections: int, processes: int) -> None:
    offer = replace(OFFER, clients=Clients.KEPT, connections=connections, processes=processes)
    shares = [part.connections for part in parts(offer)]
    assert sum(shares) == connections
    assert 1 <= max(shares) <= min(shares) + 1


@pytest.mark.parametrize(
    "offer",
    [
        replace(OFFER, rate=0.0),
        replace(OFFER, duration=0.0),
        replace(OFFER, clients=Clients.UNEVEN),
    ],
    ids=["rate", "duration", "connections"],
)
def test_an_offer_that_makes_no_sense_is_refused(offer: Offer) -> None:
    with pytest.raises(ValueError, match=r"nothing is due|need some"):
        parts(offer)


def test_lives_of_connections_are_very_unequal() -> None:
    random = randomness(parts(OFFER)[0], "connections")
    lives = sorted(int(LIFETIME.draw(random)) for _ in range(10_000))
    assert 1 == lives[0] == lives[4500]
    assert 50 < lives[9900] < 200 < lives[-1] <= 1000


def test_requests_say_how_long_they_work_and_for_whom_it_takes_longer() -> None:
    assert request(OFFER, 0.005) == (
        b"GET /block/0.005000 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: close\r\n\r\n"
    )
    kept = replace(
        OFFER,
        work=Work.BURN,
        clients=Clients.KEPT,
        connections=1,
        slow_pid=42,
        slow_factor=10,
    )
    assert request(kept, 0.0) == (
        b"GET /burn/0?slow=42&times=10 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
    )
