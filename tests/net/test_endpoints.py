"""The endpoints' table: several workers' counters, one endpoint's health, and rows that change."""

from __future__ import annotations

import os
import signal
import socket
from collections import defaultdict
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from balancer.net.endpoints import (
    ANY_EDITION,
    ENDPOINTS,
    Address,
    EndpointTable,
    Heads,
    Totals,
    WorkerView,
)
from balancer.net.endpoints.address import pack_address, unpack_address
from balancer.net.endpoints.layout import CUMULATIVE, HeadWord, Layout, TableWord
from balancer.net.endpoints.stamps import next_stamp
from balancer.net.slots import ROWS
from tests.net.children import count_fds, exit_code, run_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCAL: Address = (socket.AF_INET, ("127.0.0.1", 9000))


@contextmanager
def table(rows: int = 8, endpoints: int = 2) -> Iterator[EndpointTable]:
    made = EndpointTable.create(rows=rows)
    for port in range(endpoints):
        assert (
            made.place(port, (socket.AF_INET, ("127.0.0.1", 9000 + port)), weight=1, now=0.0)
            == port
        )
    try:
        yield made
    finally:
        made.close()


@contextmanager
def views(made: EndpointTable, *rows: int) -> Iterator[list[WorkerView]]:
    """Of workers, closed at the end, or the table couldn't be."""
    for row in rows:
        made.admit(row)
    opened = [WorkerView(made, row) for row in rows]
    try:
        yield opened
    finally:
        for view in opened:
            view.close()


def test_a_request_counts_for_all_workers_until_it_ends() -> None:
    with table() as made, views(made, 0, 5) as (one, other):
        one.begin(0)
        one.begin(1)
        other.begin(1)
        assert [other.active(0), one.active(1)] == [1, 2]
        one.end(1)
        other.end(1)
        assert [one.active(0), one.active(1)] == [1, 0]
        assert made.totals(1) == Totals(0, 2, 0, 0, 0, 0)


def test_an_end_without_a_beginning_is_an_error() -> None:
    with table() as made, views(made, 0) as (view,), pytest.raises(ValueError, match="invalid"):
        view.end(0)


def test_a_claim_holds_for_all_workers() -> None:
    with table() as made, views(made, 0, 1) as (one, other):
        assert one.claim(0, 2)
        assert other.claim(0, 2)
        assert not one.claim(0, 2)
        assert not other.claim(0, 2)
        assert one.claim(0, 0)
        assert made.totals(0) == Totals(3, 3, 0, 0, 0, 0)
        one.end(0)
        one.end(0)
        assert other.claim(0, 2)


def test_failures_in_a_row_are_counted_over_all_workers() -> None:
    with table() as made, views(made, 0, 1, 2) as (one, two, three):
        assert [one.failed(0), two.failed(0), three.failed(0), one.failed(0)] == [1, 2, 3, 4]
        assert two.failed(1) == 1
        three.succeeded(0)
        assert made.run(0) == 0
        assert [two.failed(0), one.failed(0)] == [1, 2]
        assert made.run(1) == 1
        assert made.totals(0) == Totals(0, 0, 6, 0, 0, 2)


def test_a_success_without_trouble_writes_nothing() -> None:
    with table() as made, views(made, 0) as (view,):
        view.failed(0)
        view.succeeded(0)
        before = bytes(made.words)
        view.succeeded(0)
        assert bytes(made.words) == before


def test_a_success_that_was_held_up_forgets_failures_and_brings_none_back() -> None:
    """Which a counter of generations would, when a slow worker writes an old one."""
    with table() as made, views(made, 0, 1) as (one, other):
        word = 64 + HeadWord.GENERATION
        assert one.failed(0) == 1
        late = next_stamp(made.words[word])
        one.succeeded(0)
        assert [one.failed(0), one.failed(0)] == [1, 2]
        other.succeeded(0)
        made.words[word] = late
        assert made.run(0) == 0
        assert other.failed(0) == 1


def test_pools_wait_and_spend_apart() -> None:
    with table() as made:
        for row in (0, 1):
            made.admit(row)
        made.add_pool(2)
        with ExitStack() as stack:
            zero, two, other = (
                stack.enter_context(closing(WorkerView(made, row, pool)))
                for row, pool in ((0, 0), (0, 2), (1, 2))
            )
            zero.begin(0)
            two.begin(1)
            assert other.claim(1, 2)
            other.retried(1)
            assert [zero.spent(), two.spent(), other.spent()] == [(1, 0), (2, 1), (2, 1)]
            two.wait(1, 2.0)
            other.wait(3, 1.0)
            assert [zero.waiting(), two.waiting(), other.waiting()] == [0, 4, 4]
            assert [zero.oldest_waiter(), two.oldest_waiter()] == [None, 1]
            made.depart(1)
            assert [made.spent(2), made.waiting(2), made.oldest_waiter(pool=2)] == [(2, 1), 1, 0]
            assert made.totals(1) == Totals(1, 2, 0, 1, 0, 0)
            assert made.spent() == (1, 0)


def test_it_is_known_which_lists_workers_go_by() -> None:
    with table() as made:
        assert made.editions() == set()
        made.admit(0)
        made.admit(3)
        assert made.editions() == {ANY_EDITION}
        made.goes_by(0, 2)
        made.goes_by(3, 5)
        assert made.editions() == {2, 5}
        made.depart(0)
        assert made.editions() == {5}
        made.admit(0)
        assert made.editions() == {5, ANY_EDITION}


def test_an_endpoint_may_be_drained_from_the_start() -> None:
    with table() as made:
        index = made.place(7, (socket.AF_INET, ("127.0.0.1", 1)), weight=1, now=0.0, drained=True)
        assert [row.drained for row in made.heads.states()] == [False, False, True]
        assert index == 2


class Interrupted:
    """Words that let another process in before the access of some number, and only there."""

    def __init__(
        self, words: memoryview, accesses: Iterator[int], act: Callable[[], object]
    ) -> None:
        self._words, self._accesses, self._act = words, accesses, act

    def __getitem__(self, at: int) -> int:
        return self._reached()[at]

    def __setitem__(self, at: int, value: int) -> None:
        self._reached()[at] = value

    def _reached(self) -> memoryview:
        if next(self._accesses) == 0:
            self._act()
        return self._words

    def release(self) -> None:
        self._words.release()


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("before", [0, 1])
def test_a_failure_amid_a_success_does_not_survive_the_next_one(before: int, number: int) -> None:
    with table() as made, views(made, 0, 1) as (one, other):
        for _ in range(before):
            one.failed(0)
        accesses = count(-number)
        words = Interrupted(made.words, accesses, lambda: other.failed(0))
        Heads(words).end_run(0)  # type: ignore[arg-type]
        assert made.run(0) <= 1
        one.succeeded(0)
        assert made.run(0) == 0


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("before", [0, 1])
def test_a_failure_around_a_success_does_not_survive_the_next_one(before: int, number: int) -> None:
    with table() as made, views(made, 0, 1) as (one, other):
        for _ in range(before):
            one.failed(0)
            other.failed(0)
        accesses = count(-number)
        for name in ("_generations", "_run_generations", "_runs", "_troubles"):
            words = Interrupted(getattr(one, name), accesses, lambda: other.succeeded(0))
            setattr(one, name, words)
        one.failed(0)
        other.succeeded(0)
        assert made.run(0) == 0


def test_a_dead_workers_counts_stay_and_its_requests_do_not() -> None:
    with table() as made, views(made, 0, 1) as (one, other):
        for view in (one, other):
            view.begin(0)
            view.retried(0)
            view.stale(0)
            assert view.failed(0)
            view.wait(3, 7.0 + view.row)
        made.depart(0)
        assert made.totals(0) == Totals(1, 2, 2, 2, 2, 1)
        assert (made.waiting(), made.oldest_waiter()) == (3, 1)
        made.depart(0)
        assert made.totals(0) == Totals(1, 2, 2, 2, 2, 1)
        made.depart(1)
        assert made.totals(0) == Totals(0, 2, 2, 2, 2, 0)
        assert made.oldest_waiter() is None
        # the row's next worker
        one.begin(0)
        assert one.failed(0) == 1
        assert made.totals(0) == Totals(1, 3, 3, 2, 2, 1)


def test_the_queue_is_the_machines() -> None:
    with table() as made, views(made, 0, 1, 2) as (one, two, three):
        assert one.oldest_waiter() is None
        one.wait(2, 100.5)
        three.wait(1, 100.25)
        assert (two.waiting(), two.oldest_waiter()) == (3, 2)
        three.wait(0, 0.0)
        assert (two.waiting(), two.oldest_waiter()) == (2, 0)
        two.wait(1, 0.0)
        assert one.oldest_waiter() == 1, "a wait that began with the clock is one"


def test_what_is_spent_on_retries_is_the_machines_and_never_forgotten() -> None:
    with table() as made, views(made, 0, 1) as (one, other):
        for view, index in ((one, 0), (one, 1), (other, 1)):
            view.begin(index)
            view.retried(index)
        other.begin(1)
        assert one.spent() == other.spent() == (4, 3)
        assert [made.totals(0).retries, made.totals(1).retries] == [1, 2]
        made.depart(1)
        made.heads.remove(0)
        assert one.spent() == (4, 3)


def test_a_worker_must_be_admitted() -> None:
    with table(rows=4) as made:
        made.admit(2)
        made.admit(0)
        assert made.rows_used == 3
        for row in (-1, 3):
            with pytest.raises(ValueError, match=f"worker row {row} isn't admitted"):
                WorkerView(made, row)
        for row in (-1, 4):
            with pytest.raises(ValueError, match=f"no worker row {row}"):
                made.admit(row)


def test_what_an_endpoint_is_can_be_read() -> None:
    with table(endpoints=0) as made, views(made, 0) as (view,):
        assert view.states() == []
        six: Address = (socket.AF_INET6, ("fe80::1", 443, 0, 3))
        unix: Address = (socket.AF_UNIX, "")
        assert made.place(4, six, weight=7, now=1.5) == 0
        assert made.place(2, unix, weight=1, now=2.5) == 1
        first, second = view.states()
        assert (first.index, first.upstream, first.address, first.weight) == (0, 4, six, 7)
        assert (first.since, first.down, first.drained, first.ejected_until) == (1.5, 0, 0, 0.0)
        assert (second.index, second.upstream, second.address, second.since) == (1, 2, unix, 2.5)
        assert first.placed != second.placed


def test_every_change_that_choosers_look_at_is_another_version() -> None:
    with table() as made, views(made, 0) as (view,):
        heads = made.heads
        versions = [view.version]

        def changed() -> bool:
            versions.append(view.version)
            return versions[-1] not in versions[:-1]

        assert heads.probed(0, up=False, now=3.0)
        assert changed()
        assert not heads.probed(0, up=False, now=4.0)
        assert not changed()
        assert heads.probed(0, up=True, now=5.0)
        assert changed()
        assert heads.drain(0, drained=True, now=6.0)
        assert changed()
        assert not heads.drain(0, drained=True, now=6.0)
        assert not changed()
        assert heads.drain(0, drained=False, now=7.0)
        assert changed()
        heads.reweigh(0, 9)
        assert changed()
        assert view.eject(0, 20.0, times=2, now=10.0)
        assert changed()
        row = heads.row(0)
        assert row is not None
        assert (row.probed_at, row.since, row.weight) == (5.0, 7.0, 9)
        assert (row.ejected_until, row.ejected_at, row.ejections) == (20.0, 10.0, 2)
        heads.readmit(0)
        assert changed()
        heads.remove(0)
        assert changed()
        heads.remove(0)
        assert not changed()
        assert made.place(0, LOCAL, weight=1, now=0.0) is not None
        assert changed()


def test_what_choosers_do_not_look_at_is_no_other_version() -> None:
    with table() as made, views(made, 0) as (view,):
        before = view.version
        view.begin(0)
        view.failed(0)
        view.succeeded(0)
        view.end(0)
        view.wait(1, 1.0)
        made.beat()
        made.admit(3)
        assert view.version == before
        assert made.helper_beat == 1


def test_one_ejection_is_enough_and_begins_a_new_run() -> None:
    with table() as made, views(made, 0, 1) as (one, other):
        one.failed(0)
        other.failed(0)
        assert one.eject(0, 20.0, times=1, now=10.0)
        assert not other.eject(0, 30.0, times=2, now=10.5)
        assert other.failed(0) == 1
        assert other.eject(0, 40.0, times=2, now=20.0)
        row = made.heads.row(0)
        assert row is not None
        assert (row.ejected_until, row.ejections) == (40.0, 2)


def test_a_rows_next_endpoint_begins_anew() -> None:
    with table(endpoints=ENDPOINTS) as made, views(made, 0) as (view,):
        view.begin(7)
        view.retried(7)
        view.failed(7)
        view.eject(7, 50.0, times=3, now=1.0)
        made.heads.drain(7, drained=True, now=1.0)
        made.heads.remove(7)
        assert [row.index for row in view.states()].count(7) == 0
        assert made.place(1, LOCAL, weight=1, now=5.0) is None, "a request is in progress there"
        view.end(7)
        made.heads.remove(3)
        assert made.place(9, LOCAL, weight=2, now=6.0) == 7, "it was empty longer"
        row = made.heads.row(7)
        assert row is not None
        assert (row.upstream, row.address, row.weight, row.since) == (9, LOCAL, 2, 6.0)
        assert (row.drained, row.ejected_until, row.ejections) == (False, 0.0, 0)
        assert made.totals(7) == Totals(0, 0, 0, 0, 0, 0)
        view.begin(7)
        assert view.failed(7) == 1
        assert made.totals(7) == Totals(1, 1, 1, 0, 0, 1)


def test_an_endpoint_that_changes_while_it_is_read_is_not_read() -> None:
    with table() as made:

        class Head:
            """A head that was read, whose endpoint went and made room for another meanwhile."""

            def __init__(self, words: memoryview) -> None:
                self._read = words.tolist()
                made.heads.remove(0)
                made.heads.place(0, 1, LOCAL, 1, 0.0, [0] * 4)

            def tolist(self) -> list[int]:
                return self._read

        class Words:
            def __getitem__(self, at: slice | int) -> Head | int:
                return made.words[at] if isinstance(at, int) else Head(made.words[at])

        assert Heads(Words()).row(0) is None  # type: ignore[arg-type]
        assert made.heads.row(0) is not None


def test_a_row_in_use_and_a_bad_address_are_refused() -> None:
    with table() as made:
        with pytest.raises(ValueError, match="endpoint row 0 is in use"):
            made.heads.place(0, 0, LOCAL, 1, 0.0, [])
        for bad in ("localhost", "1.2.3", "::1", ""):
            with pytest.raises(ValueError, match="no address of family"):
                made.place(0, (socket.AF_INET, (bad, 80)), weight=1, now=0.0)
        with pytest.raises(ValueError, match="is a tuple"):
            made.place(0, (socket.AF_INET, "1.2.3.4"), weight=1, now=0.0)
        assert len(made.heads.states()) == 2


@given(st.ip_addresses(), st.integers(0, 65535), st.integers(0, 2**32 - 1))
def test_an_address_reads_back(address: object, port: int, scope: int) -> None:
    text = str(address)
    made: Address = (socket.AF_INET, (text, port))
    if ":" in text:
        made = (socket.AF_INET6, (socket.inet_ntop(10, socket.inet_pton(10, text)), port, 0, scope))
    assert unpack_address(*pack_address(made)) == made


@given(st.integers(0, 2**63))
def test_a_stamp_is_later_than_the_one_before(before: int) -> None:
    assert next_stamp(before) > before


def test_the_words_are_apart() -> None:
    layout = Layout(8)
    assert max(set(HeadWord) - {HeadWord.BASE}) < HeadWord.BASE
    assert HeadWord.BASE + len(CUMULATIVE) <= 64
    assert max(TableWord) < 64
    assert layout.counters_at + ENDPOINTS * layout.step == layout.size // 8


def test_the_whole_table_can_be_made_and_its_last_cells_used() -> None:
    with table(rows=ROWS, endpoints=ENDPOINTS) as made, views(made, ROWS - 1) as (view,):
        view.begin(ENDPOINTS - 1)
        view.wait(1, 1.0)
        assert view.failed(ENDPOINTS - 1) == 1
        assert view.oldest_waiter() == ROWS - 1
        made.depart(ROWS - 1)
        assert made.totals(ENDPOINTS - 1) == Totals(0, 1, 1, 0, 0, 0)


def test_the_table_can_be_opened_by_its_descriptor_alone() -> None:
    with table(rows=5) as made, views(made, 3) as (view,):
        other = EndpointTable.open(os.dup(made.fd))
        assert other.rows_used == 4
        assert other.heads.states() == made.heads.states()
        with views(other, 3) as (same,):
            same.begin(1)
            assert view.active(1) == 1
        other.close()


def test_nothing_leaks_and_nothing_is_inherited() -> None:
    before = count_fds()
    with table() as made, views(made, 0):
        assert not os.get_inheritable(made.fd)
    assert count_fds() == before


WORKERS = 3
ROUNDS = 3000


def test_many_processes_count_exactly_and_a_killed_ones_requests_are_undone() -> None:
    with table(rows=WORKERS + 1) as made:
        for row in range(WORKERS + 1):
            made.admit(row)
        ready, tell = os.pipe()

        def work(row: int) -> None:
            view = WorkerView(EndpointTable.open(os.dup(made.fd)), row)
            for number in range(ROUNDS):
                view.begin(number % 2)
                if number % 3:
                    view.succeeded(number % 2)
                else:
                    assert view.failed(number % 2) >= 0
                view.end(number % 2)
            view.begin(0)

        def hang() -> None:
            view = WorkerView(EndpointTable.open(os.dup(made.fd)), WORKERS)
            for _ in range(5):
                view.begin(1)
                view.failed(1)
            view.wait(4, 1.0)
            os.write(tell, b"x")
            signal.pause()

        working = [run_child(partial(work, row)) for row in range(WORKERS)]
        hanging = run_child(hang)
        os.read(ready, 1)
        assert [exit_code(pid) for pid in working] == [0] * WORKERS
        assert [made.active(0), made.active(1)] == [WORKERS, 5]
        assert made.totals(0).requests == WORKERS * (ROUNDS // 2 + 1)
        assert made.totals(1).requests == WORKERS * ROUNDS // 2 + 5
        assert made.totals(0).failures + made.totals(1).failures == WORKERS * ROUNDS // 3 + 5
        assert (made.waiting(), made.oldest_waiter()) == (4, WORKERS)
        os.kill(hanging, signal.SIGKILL)
        assert exit_code(hanging) == -signal.SIGKILL
        made.depart(WORKERS)
        assert [made.active(0), made.active(1)] == [WORKERS, 0]
        assert made.totals(1).requests == WORKERS * ROUNDS // 2 + 5
        assert (made.waiting(), made.oldest_waiter()) == (0, None)
        os.close(ready)
        os.close(tell)


ROW_COUNT, PLACES = 4, 3
worker_rows = st.integers(0, ROW_COUNT - 1)
places = st.integers(0, PLACES - 1)


class Machine(RuleBasedStateMachine):
    """Workers that live, die and are replaced, beside plain numbers of what they did."""

    def __init__(self) -> None:
        super().__init__()
        self.table = EndpointTable.create(rows=ROW_COUNT)
        for place in range(PLACES):
            assert self.table.place(place, LOCAL, weight=1, now=0.0) == place
        self.views: dict[int, WorkerView] = {}
        self.active: dict[tuple[int, int], int] = defaultdict(int)
        self.spent = [0, 0]
        self.waiting: dict[int, tuple[int, float]] = {}
        self.sums: dict[tuple[str, int], int] = defaultdict(int)
        self.run: dict[tuple[int, int], int] = defaultdict(int)

    def view(self, row: int) -> WorkerView:
        if row not in self.views:
            self.table.admit(row)
            self.views[row] = WorkerView(self.table, row)
        return self.views[row]

    @rule(row=worker_rows, place=places)
    def begin(self, row: int, place: int) -> None:
        self.view(row).begin(place)
        self.active[row, place] += 1
        self.sums["requests", place] += 1
        self.spent[0] += 1

    @rule(row=worker_rows, place=places, limit=st.integers(0, 3))
    def claim(self, row: int, place: int, limit: int) -> None:
        free = not limit or self.all_active(place) < limit
        assert self.view(row).claim(place, limit) is free
        self.active[row, place] += free
        self.sums["requests", place] += free
        self.spent[0] += free

    @precondition(lambda self: any(self.active.values()))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        row, place = data.draw(st.sampled_from([key for key, n in self.active.items() if n]))
        self.view(row).end(place)
        self.active[row, place] -= 1

    @rule(row=worker_rows, place=places)
    def fail(self, row: int, place: int) -> None:
        self.run[row, place] += 1
        self.sums["failures", place] += 1
        assert self.view(row).failed(place) == self.all_runs(place)

    @rule(row=worker_rows, place=places)
    def succeed(self, row: int, place: int) -> None:
        self.view(row).succeeded(place)
        self.forget_run(place)

    @rule(row=worker_rows, place=places)
    def eject(self, row: int, place: int) -> None:
        assert self.view(row).eject(place, 2.0, times=1, now=1.0)
        self.table.heads.readmit(place)
        self.forget_run(place)

    @rule(row=worker_rows, place=places)
    def retry(self, row: int, place: int) -> None:
        self.view(row).retried(place)
        self.spent[1] += 1
        self.sums["retries", place] += 1

    @rule(row=worker_rows, place=places)
    def stale(self, row: int, place: int) -> None:
        self.view(row).stale(place)
        self.sums["stale", place] += 1

    @rule(row=worker_rows, count=st.integers(0, 5), since=st.floats(0.001, 1e7))
    def wait(self, row: int, count: int, since: float) -> None:
        self.view(row).wait(count, since)
        self.waiting.pop(row, None)
        if count:
            self.waiting[row] = (count, round(since * 1e9))

    @precondition(lambda self: self.views)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.views)))
        self.views.pop(row).close()
        self.table.depart(row)
        for place in range(PLACES):
            self.active[row, place] = self.run[row, place] = 0
        self.waiting.pop(row, None)

    @rule(place=places)
    def move(self, place: int) -> None:
        """Another address takes the row of one that nobody uses."""
        if self.all_active(place):
            return
        self.table.heads.remove(place)
        base = [self.sum_of_cells(place, counter) for counter in CUMULATIVE]
        self.table.heads.place(place, place, LOCAL, 1, 0.0, base)
        self.forget_run(place)
        for name in ("requests", "failures", "retries", "stale"):
            self.sums[name, place] = 0

    def sum_of_cells(self, place: int, counter: int) -> int:
        at = self.table.layout.counters_at + place * self.table.layout.step
        at += counter * self.table.layout.cells
        return sum(self.table.words[at : at + ROW_COUNT + 1])

    def forget_run(self, place: int) -> None:
        for row in range(ROW_COUNT):
            self.run[row, place] = 0

    def all_active(self, place: int) -> int:
        return sum(self.active[row, place] for row in range(ROW_COUNT))

    def all_runs(self, place: int) -> int:
        return sum(self.run[row, place] for row in range(ROW_COUNT))

    @invariant()
    def the_sums_are_right(self) -> None:
        for place in range(PLACES):
            assert self.table.totals(place) == Totals(
                self.all_active(place),
                self.sums["requests", place],
                self.sums["failures", place],
                self.sums["retries", place],
                self.sums["stale", place],
                self.all_runs(place),
            )
            for view in self.views.values():
                assert view.active(place) == self.all_active(place)
        assert self.table.spent() == tuple(self.spent)
        assert self.table.waiting() == sum(count for count, _ in self.waiting.values())
        for view in self.views.values():
            assert view.spent() == self.table.spent()
            assert view.waiting() == self.table.waiting()

    @invariant()
    def the_oldest_waits_longest(self) -> None:
        oldest = self.table.oldest_waiter()
        since = {row: at for row, (_, at) in self.waiting.items()}
        assert (oldest is None) == (not since)
        assert oldest is None or since[oldest] == min(since.values())

    def teardown(self) -> None:
        for view in self.views.values():
            view.close()
        self.table.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
