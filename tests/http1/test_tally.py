"""Finished requests are counted in batches, and none is forgotten or counted twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.http1.tally import BATCH, Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balancer.http1.tally import Done

ONE = (200, 0.5, 1, 2)


class Stats:
    def __init__(self) -> None:
        self.batches: list[list[Done]] = []

    patience = BATCH

    def requests_done(self, done: Sequence[Done]) -> None:
        self.batches.append(list(done))


def test_a_full_batch_is_counted_at_once() -> None:
    stats = Stats()
    tally = Tally(stats)
    for _ in range(BATCH - 1):
        tally.add(*ONE)
    assert not stats.batches
    tally.add(*ONE)
    assert stats.batches == [[ONE] * BATCH]


def test_the_rest_is_counted_when_it_is_flushed() -> None:
    stats = Stats()
    tally = Tally(stats)
    tally.flush()
    tally.add(*ONE)
    tally.flush()
    tally.flush()
    assert stats.batches == [[ONE]]


def test_the_list_stays_the_same() -> None:
    tally = Tally(Stats())
    before = tally.done
    tally.add(*ONE)
    tally.flush()
    assert tally.done is before
