"""The stats slots, written in one process and read in another."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.net.slots import BUCKETS, ROW_WORDS, ROWS, SlotTable, SlotWriter, Word
from tests.net.children import count_fds, exit_code, run_child

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def table(rows: int = 8) -> Iterator[SlotTable]:
    made = SlotTable.create(rows=rows)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def row(made: SlotTable, index: int = 3) -> Iterator[memoryview]:
    """Released at the end, or the table couldn't be closed."""
    with made.row(index) as words:
        yield words


def histogram(words: memoryview) -> dict[int, int]:
    return {n: words[Word.LATENCY + n] for n in range(BUCKETS) if words[Word.LATENCY + n]}


def test_what_a_worker_writes_the_master_reads() -> None:
    with table() as made, row(made) as words:

        def work() -> None:
            writer = SlotWriter(words)
            for _ in range(3):
                writer.beat()
                writer.opened()
            writer.closed()
            writer.requests_done([(200, 0.001, 10, 20)])
            writer.requests_done([(404, 0.001, 1, 2)])

        assert exit_code(run_child(work)) == 0
        assert words[Word.HEARTBEAT] == 3
        assert words[Word.ACTIVE] == 2
        assert words[Word.ACCEPTED] == 3
        assert words[Word.REQUESTS] == 2
        assert words[Word.CLASS_2XX] == words[Word.CLASS_4XX] == 1
        assert (words[Word.BYTES_IN], words[Word.BYTES_OUT]) == (11, 22)


def test_the_table_can_be_mapped_by_its_descriptor_alone() -> None:
    """As a worker does, which gets only the fd."""
    with table() as made, row(made, 5) as words:
        other = SlotTable(os.dup(made.fd), rows=8)
        with row(other, 5) as others:
            SlotWriter(others).beat()
            assert words[Word.HEARTBEAT] == 1
        other.close()


def test_rows_are_apart() -> None:
    with table() as made, row(made, 1) as before, row(made, 2) as mine, row(made, 3) as after:
        writer = SlotWriter(mine)
        writer.beat()
        writer.opened()
        writer.requests_done([(599, 1e9, 2**40, 2**40)])
        assert not any(before)
        assert not any(after)
        assert sum(map(bool, mine)) == 8


def test_a_cleared_row_is_empty_and_its_neighbours_are_not() -> None:
    with table() as made, row(made, 1) as before, row(made, 2) as mine, row(made, 3) as after:
        for words in (before, mine, after):
            SlotWriter(words).beat()
        made.clear(2)
        assert not any(mine)
        assert before[Word.HEARTBEAT] == after[Word.HEARTBEAT] == 1


def test_opened_and_closed_say_how_many_there_are() -> None:
    with table() as made, row(made) as words:
        writer = SlotWriter(words)
        assert [writer.opened(), writer.opened(), writer.closed(), writer.closed()] == [1, 2, 1, 0]


@pytest.mark.parametrize("status", [100, 199, 200, 304, 404, 500, 599])
def test_a_response_counts_in_its_class(status: int) -> None:
    with table() as made, row(made) as words:
        SlotWriter(words).requests_done([(status, 0.0, 0, 0)])
        classes = [words[Word.CLASS_1XX + n] for n in range(5)]
        assert classes.index(1) == status // 100 - 1
        assert sum(classes) == words[Word.REQUESTS] == 1


def test_a_request_without_a_response_counts_once_and_in_no_class() -> None:
    with table() as made, row(made) as words:
        SlotWriter(words).requests_done([(0, 0.0, 0, 0)])
        assert words[Word.REQUESTS] == 1
        assert not any(words[Word.CLASS_1XX + n] for n in range(5))


@pytest.mark.parametrize(
    ("micros", "bucket"),
    [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1023, 10), (1024, 11), (10**6, 20), (10**12, 31)],
)
def test_latencies_fall_into_their_buckets(micros: int, bucket: int) -> None:
    with table() as made, row(made) as words:
        SlotWriter(words).requests_done([(200, micros / 1e6 + 1e-9, 0, 0)])
        assert histogram(words) == {bucket: 1}


@given(st.floats(0, 1000))
def test_bucket_n_is_less_than_two_to_the_n_microseconds(seconds: float) -> None:
    with table() as made, row(made) as words:
        SlotWriter(words).requests_done([(200, seconds, 0, 0)])
        [bucket] = histogram(words)
        assert int(seconds * 1e6) < 2**bucket
        assert bucket == 0 or int(seconds * 1e6) >= 2 ** (bucket - 1)


DONE = st.tuples(
    st.sampled_from([0, 101, 200, 204, 404, 500, 504, 599]),
    st.floats(0, 5000) | st.integers(0, 40).map(lambda power: 2**power / 1e6),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
)


@given(st.lists(DONE, min_size=1))
def test_many_at_once_are_the_same_as_one_after_the_other(
    done: list[tuple[int, float, int, int]],
) -> None:
    with table() as made, row(made, 1) as together, row(made, 2) as apart:
        SlotWriter(together).requests_done(done)
        for each in done:
            SlotWriter(apart).requests_done([each])
        assert together.tolist() == apart.tolist()


def test_the_histogram_fits_into_a_row() -> None:
    assert max(Word) == Word.LATENCY
    assert Word.LATENCY + BUCKETS <= ROW_WORDS


def test_the_whole_table_can_be_made_and_its_last_row_used() -> None:
    with table(ROWS) as made, row(made, ROWS - 1) as words:
        SlotWriter(words).beat()
        assert words[Word.HEARTBEAT] == 1


def test_nothing_leaks_and_nothing_is_inherited() -> None:
    before = count_fds()
    with table() as made:
        assert not os.get_inheritable(made.fd)
    assert count_fds() == before
