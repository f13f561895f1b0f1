"""Connections that wait for their own worker: examples, and a state machine beside an oracle."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from balancer.core.books import Hold, Refusal
from balancer.core.by_key import FEW, LASTING, room_for
from balancer.core.pacing import LEAD, Lead
from balancer.core.policy import RoundRobin
from balancer.core.policy.rendezvous import Rendezvous
from balancer.core.policy.sticky import Sticky
from balancer.core.scheduler import Scheduler
from tests.core.oracle import StickyLane
from tests.core.test_scheduler import SchedulerMachine, drain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import FrameType

    from balancer.core.by_key import ByKey

NEVER = float("inf")


def sticky_scheduler(
    lanes: int = 1,
    *,
    window: int = 1,
    limit: int = 1024,
    recall: float | None = 0.1,
    lead: Lead | None = LEAD,
    exclusive: Collection[int] = (),
) -> Scheduler:
    scheduler: Scheduler

    def name_of(worker: int) -> bytes:
        return scheduler.roster.name_of(worker)

    scheduler = Scheduler(
        lanes,
        lambda: Rendezvous(name_of),
        window=window,
        limit=limit,
        recall=recall,
        lead=lead,
        exclusive=exclusive,
    )
    return scheduler


def with_workers(
    *workers: int, window: int = 1, limit: int = 1024, recall: float | None = 0.1
) -> Scheduler:
    scheduler = sticky_scheduler(window=window, limit=limit, recall=recall)
    for worker in workers:
        scheduler.roster.join(worker)
    return scheduler


def order_of(key: bytes, *workers: int) -> list[int]:
    """Whose a key is, and who comes next."""
    return list(Rendezvous(b"slot %d".__mod__).prefer(key, dict.fromkeys(workers, 1)))


def key_of(*wanted: int) -> bytes:
    """A key that these workers are preferred for, in this order."""
    keys = (b"192.0.2.%d" % number for number in count())
    return next(key for key in keys if order_of(key, *sorted(wanted)) == list(wanted))


def by_key(scheduler: Scheduler, lane: int = 0) -> ByKey:
    found = scheduler.lanes[lane].by_key
    assert found is not None
    return found


class TestTied:
    def test_the_same_client_meets_the_same_worker_again(self) -> None:
        scheduler = with_workers(1, 2, 3)
        for client in range(20):
            key = b"192.0.2.%d" % client
            whose = order_of(key, 1, 2, 3)[0]
            for _ in range(3):
                number = scheduler.accepted(0, 7, key).number
                assert drain(scheduler) == [(number, whose)]
                scheduler.acked(number, whose)

    @given(st.integers(1, 5), st.integers(1, 3), st.data())
    def test_whatever_the_load_a_key_has_one_worker_while_that_is_well_and_has_room(
        self, workers: int, window: int, data: st.DataObject
    ) -> None:
        scheduler = with_workers(*range(1, workers + 1), window=window, recall=None)
        met: dict[bytes, set[int]] = {}
        sent: list[tuple[int, int]] = []
        for _ in range(data.draw(st.integers(0, 60))):
            client = data.draw(st.integers(0, 4))
            if client:
                scheduler.accepted(0, 7, b"192.0.2.%d" % client)
            elif sent:
                scheduler.acked(*sent.pop(data.draw(st.integers(0, len(sent) - 1))))
            while (connection := scheduler.assign(0, 0.0)) is not None:
                met.setdefault(connection.key, set()).add(connection.worker)
                sent.append((connection.number, connection.worker))
        assert all(len(workers) == 1 for workers in met.values())

    def test_it_waits_while_others_are_free_and_is_in_nobodys_way(self) -> None:
        scheduler = with_workers(1, 2)
        for key in (key_of(1, 2), key_of(1, 2), key_of(2, 1)):
            scheduler.accepted(0, 7, key)
        assert drain(scheduler) == [(1, 1), (3, 2)]
        scheduler.acked(3, 2)
        for number in range(4, 10):  # as often as they like
            scheduler.accepted(0, 7, key_of(2, 1))
            assert drain(scheduler) == [(number, 2)]
            scheduler.acked(number, 2)
        assert [c.number for c in scheduler.lanes[0].queue] == [2]
        assert scheduler.pending() == 2
        scheduler.acked(1, 1)
        assert drain(scheduler) == [(2, 1)]

    def test_a_lane_is_stuck_only_where_nobody_is_free(self) -> None:
        """Who accepts for it may rest then: new ones would only wait, whosever they are."""
        scheduler = with_workers(1, 2)

        def stuck() -> bool:
            return scheduler.lanes[0].stuck

        assert not stuck()
        for key in (key_of(1, 2), key_of(1, 2), key_of(2, 1)):
            scheduler.accepted(0, 7, key)
        drain(scheduler)
        assert stuck()
        scheduler.acked(3, 2)
        assert not stuck()

    def test_a_comeback_doesnt_buy_more_time(self) -> None:
        scheduler = with_workers(1, 2, 3)
        for _ in range(2):
            scheduler.accepted(0, 7, key_of(1, 2, 3))
        drain(scheduler, now=10.0)
        scheduler.accepted(0, 7, key_of(2, 1, 3))
        drain(scheduler, now=10.05)
        scheduler.refused(1, 1, Refusal.FULL, 10.05)
        assert drain(scheduler, now=10.05) == []  # both wait for the second now
        assert scheduler.deadline() == 10.0 + 0.1
        scheduler.tick(10.1)
        assert drain(scheduler, now=10.1) == [(1, 3)]

    def test_a_full_queue_sends_it_to_the_next(self) -> None:
        scheduler = with_workers(1, 2, limit=12)
        assert room_for(12, 2) == 4
        for _ in range(5):
            scheduler.accepted(0, 7, key_of(1, 2))
        assert [worker for _, worker in drain(scheduler)] == [1, 2]
        assert [c.number for c in scheduler.lanes[0].queue] == [2, 3, 4]
        scheduler.accepted(0, 7, key_of(1, 2))
        scheduler.acked(5, 2)
        assert drain(scheduler) == []
        scheduler.accepted(0, 7, key_of(1, 2))
        assert drain(scheduler) == [(7, 2)]

    @pytest.mark.parametrize("limit", range(2, 40))
    def test_one_that_is_blocked_never_keeps_the_lane_from_accepting(self, limit: int) -> None:
        scheduler = with_workers(1, 2, limit=limit)
        for _ in range(limit):
            assert scheduler.accepting(0)
            for number, worker in [(scheduler.accepted(0, 7, key_of(1, 2)).number, 2)]:
                if (number, worker) in drain(scheduler):
                    scheduler.acked(number, worker)
        scheduler.accepted(0, 7, key_of(2, 1))
        [(_, worker)] = drain(scheduler)
        assert worker == 2

    @given(st.integers(1, 2000), st.integers(1, 2000))
    def test_the_room(self, limit: int, workers: int) -> None:
        room = room_for(limit, workers)
        assert room >= 1
        assert room < limit or limit == 1
        if workers + 1 <= limit and room > FEW:
            assert (workers - 1) * room < limit

    def test_who_is_on_its_way_out_takes_no_room_from_the_others(self) -> None:
        scheduler = with_workers(1, 2, limit=90)
        for worker in range(3, 9):  # those that were replaced, and still have clients
            scheduler.roster.join(worker)
            scheduler.roster.hold(worker, Hold.CLOSED)
        for _ in range(90):
            scheduler.accepted(0, 7, key_of(1, 2))
        drain(scheduler, now=10)
        assert by_key(scheduler).waiting.tied(1) == room_for(90, 2) - 1  # it has the first

    def test_who_has_no_key_goes_to_anybody_and_those_who_have_wait_beside(self) -> None:
        scheduler = with_workers(1, 2)
        for key in (key_of(1, 2), key_of(1, 2), b"", b""):
            scheduler.accepted(0, 7, key)
        assert drain(scheduler) == [(1, 1), (3, 2)]
        scheduler.acked(1, 1)
        assert drain(scheduler) == [(2, 1)]  # accepted before the one without a key
        scheduler.acked(2, 1)
        assert drain(scheduler) == [(4, 1)]

    def test_accept_order_between_its_own_and_those_of_anybody(self) -> None:
        scheduler = with_workers(1)
        for key in (b"", b"a", b"", b"b", b"", b""):
            scheduler.accepted(0, 7, key)
        for number in range(1, 7):
            assert drain(scheduler) == [(number, 1)]
            scheduler.acked(number, 1)

    def test_before_there_are_workers_it_is_anybodys(self) -> None:
        scheduler = sticky_scheduler()
        scheduler.accepted(0, 7, key_of(1, 2))
        assert drain(scheduler) == []
        scheduler.roster.join(2)
        assert drain(scheduler) == [(1, 2)]

    def test_weights_are_shares(self) -> None:
        scheduler = sticky_scheduler()
        scheduler.roster.join(1, 3)
        scheduler.roster.join(2, 1)
        counts: Counter[int] = Counter()
        for client in range(1000):
            scheduler.accepted(0, 7, b"%d" % client)
            [(number, worker)] = drain(scheduler)
            counts[worker] += 1
            scheduler.acked(number, worker)
        assert 700 < counts[1] < 800


def hold_full(scheduler: Scheduler) -> None:
    scheduler.roster.hold(1, Hold.FULL)


def hold_silent(scheduler: Scheduler) -> None:
    scheduler.roster.hold(1, Hold.SILENT)


def cool(scheduler: Scheduler) -> None:
    scheduler.roster.cool(1, 0.0, Hold.COOLING)


def shut(scheduler: Scheduler) -> None:
    scheduler.roster.shut(1, 0)


def reopen(scheduler: Scheduler) -> None:
    scheduler.roster.reopen(1, 0)


def close(scheduler: Scheduler) -> None:
    scheduler.roster.hold(1, Hold.CLOSED)


def full_pair_and_silent(scheduler: Scheduler) -> None:
    scheduler.roster.hold(1, Hold.CHANNEL)
    scheduler.roster.hold(1, Hold.SILENT)


def have_room(scheduler: Scheduler) -> None:
    scheduler.roster.room(1)


def beat(scheduler: Scheduler) -> None:
    scheduler.roster.beat(1)


def cooled(scheduler: Scheduler) -> None:
    scheduler.tick(scheduler.roster.next_cooled())


AWAY: list[tuple[Callable[[Scheduler], None], Callable[[Scheduler], None] | None]] = [
    (hold_full, have_room),
    (hold_silent, beat),
    (cool, cooled),
    (shut, reopen),
    (close, None),
    (full_pair_and_silent, None),
]


class TestMoved:
    """The worker is away: its clients are spread over the others, and come back with it."""

    @pytest.mark.parametrize(("goes", "comes"), AWAY)
    def test_what_waits_for_a_worker_that_is_away_goes_to_the_next_of_each(
        self,
        goes: Callable[[Scheduler], None],
        comes: Callable[[Scheduler], None] | None,
    ) -> None:
        scheduler = with_workers(1, 2, 3)
        for key in (key_of(1, 2, 3), key_of(1, 3, 2), key_of(1, 2, 3)):
            scheduler.accepted(0, 7, key)
        assert drain(scheduler) == [(1, 1)]
        goes(scheduler)
        assert drain(scheduler) == [(2, 3), (3, 2)]
        if comes is not None:
            comes(scheduler)
            scheduler.accepted(0, 7, key_of(1, 2, 3))
            assert drain(scheduler) == []  # it is still at work, but waited for again
            scheduler.acked(1, 1)
            assert drain(scheduler) == [(4, 1)]

    def test_a_refusal_too(self) -> None:
        scheduler = with_workers(1, 2, 3)
        for _ in range(2):
            scheduler.accepted(0, 7, key_of(1, 3, 2))
        drain(scheduler)
        scheduler.refused(1, 1, Refusal.FULL, 0.0)
        assert drain(scheduler) == [(1, 3)]
        scheduler.acked(1, 3)
        assert drain(scheduler) == [(2, 3)]

    def test_a_full_pair_is_waited_for(self) -> None:
        scheduler = with_workers(1, 2, recall=0.3)
        connection = scheduler.accepted(0, 7, key_of(1, 2))
        scheduler.accepted(0, 7, key_of(1, 2))
        assert scheduler.assign(0, 0.0) is connection
        scheduler.unsent(connection, 0.0)
        assert drain(scheduler) == []
        scheduler.tick(scheduler.deadline())
        assert drain(scheduler) == [(1, 1)]

    def test_a_dead_workers_clients_move_and_the_next_in_its_slot_inherits_them(self) -> None:
        scheduler = sticky_scheduler()
        for worker in (1, 2):
            scheduler.roster.join(worker, slot=worker)
        mine, others = key_of(1, 2), key_of(2, 1)
        for key in (mine, mine, others):
            scheduler.accepted(0, 7, key)
        assert drain(scheduler) == [(1, 1), (3, 2)]
        scheduler.acked(3, 2)
        assert scheduler.leave(1) == []
        assert drain(scheduler) == [(1, 2)]
        scheduler.acked(1, 2)
        assert drain(scheduler) == [(2, 2)]
        scheduler.acked(2, 2)
        scheduler.roster.join(9, slot=1)
        for key in (mine, others):
            scheduler.accepted(0, 7, key)
        assert drain(scheduler) == [(4, 9), (5, 2)]

    def test_only_its_own_clients_move(self) -> None:
        scheduler = with_workers(1, 2, 3, 4)
        keys = [b"192.0.2.%d" % client for client in range(100)]

        def meet() -> dict[bytes, int]:
            met = {}
            for key in keys:
                scheduler.accepted(0, 7, key)
                [(number, worker)] = drain(scheduler)
                scheduler.acked(number, worker)
                met[key] = worker
            return met

        before = meet()
        scheduler.leave(3)
        after = meet()
        assert {key for key in keys if before[key] != after[key]} == {
            key for key in keys if before[key] == 3
        }
        scheduler.roster.join(5, slot=3)
        assert meet() == {key: 5 if worker == 3 else worker for key, worker in before.items()}


class TestTime:
    """Nobody waits for a worker longer than the recall says, while another one is free."""

    def test_a_blocked_worker_is_not_waited_for_any_more(self) -> None:
        scheduler = with_workers(1, 2, 3)
        for _ in range(3):
            scheduler.accepted(0, 7, key_of(1, 3, 2))
        assert drain(scheduler, now=10.0) == [(1, 1)]
        assert scheduler.deadline() == 10.0 + 0.1
        scheduler.tick(10.1)
        late = scheduler.due_recall(0)
        assert late is not None
        scheduler.recalled(late.number)
        assert drain(scheduler, now=10.1) == [(1, 3), (2, 2)]  # in accept order, to who is free
        scheduler.acked(2, 2)
        assert drain(scheduler, now=10.1) == [(3, 2)]

    def test_who_is_accepted_later_goes_to_the_next_at_once(self) -> None:
        scheduler = with_workers(1, 2, 3)
        scheduler.accepted(0, 7, key_of(1, 3, 2))
        drain(scheduler, now=10.0)
        scheduler.accepted(0, 7, key_of(1, 3, 2))
        assert drain(scheduler, now=10.05) == []
        scheduler.tick(10.1)
        assert drain(scheduler, now=10.1) == [(2, 3)]
        scheduler.acked(2, 3)
        scheduler.accepted(0, 7, key_of(1, 3, 2))
        assert drain(scheduler, now=10.2) == [(3, 3)]
        scheduler.roster.beat(1)
        scheduler.acked(1, 1)
        scheduler.accepted(0, 7, key_of(1, 3, 2))
        assert drain(scheduler, now=10.3) == [(4, 1)]

    def test_a_slow_worker_is_waited_for_as_long_and_no_longer(self) -> None:
        """It answers, but not fast enough for all that want it."""
        scheduler = with_workers(1, 2)
        for _ in range(4):
            scheduler.accepted(0, 7, key_of(1, 2))
        assert drain(scheduler, now=10.0) == [(1, 1)]
        scheduler.acked(1, 1)
        assert drain(scheduler, now=10.06) == [(2, 1)]
        assert scheduler.deadline() == 10.0 + 0.1
        scheduler.tick(10.1)
        assert scheduler.roster.held(1) == Hold.NOTHING
        assert drain(scheduler, now=10.1) == [(3, 2)]
        scheduler.acked(2, 1)  # who has waited longest goes first, and to whom it wants
        assert drain(scheduler, now=10.12) == [(4, 1)]

    def test_the_second_in_a_queue_goes_although_the_first_has_gone_elsewhere(self) -> None:
        scheduler = with_workers(1, 2)
        scheduler.roster.cool(1, 0.0, Hold.CHANNEL)
        scheduler.roster.hold(2, Hold.FULL)
        scheduler.accepted(0, 7, key_of(2, 1))
        assert drain(scheduler, now=0.0) == []
        scheduler.roster.room(2)
        scheduler.accepted(0, 7, key_of(1, 2))
        assert drain(scheduler, now=0.05) == []
        scheduler.tick(0.1)  # which frees the worker and the first of those that wait for it
        assert drain(scheduler, now=0.1) == [(1, 2), (2, 1)]

    def test_off_is_off(self) -> None:
        scheduler = with_workers(1, 2, recall=None)
        for _ in range(2):
            scheduler.accepted(0, 7, key_of(1, 2))
        drain(scheduler, now=10.0)
        assert scheduler.deadline() == NEVER
        scheduler.tick(99.0)
        assert drain(scheduler, now=99.0) == []

    def test_the_clock_forgets_who_has_gone(self) -> None:
        scheduler = with_workers(1, 2, recall=60)
        for step in range(1000):
            for _ in range(2):
                scheduler.accepted(0, 7, key_of(1, 2))
            for _ in range(2):
                [(number, worker)] = drain(scheduler, now=10 + step / 100)
                scheduler.acked(number, worker)
        assert scheduler.deadline() == NEVER
        scheduler.accepted(0, 7, key_of(1, 2))
        scheduler.accepted(0, 7, key_of(1, 2))
        drain(scheduler, now=30)
        for _ in range(1000):
            scheduler.accepted(0, 7, key_of(2, 1))
            scheduler.accepted(0, 7, key_of(2, 1))
            for _ in range(2):
                [(number, worker)] = drain(scheduler, now=31)
                scheduler.acked(number, worker)
        assert len(by_key(scheduler).waiting._expiries) < 100


def test_moving_many_costs_little_for_each() -> None:
    """All workers are found out at once: what is tied moves among what came after it."""
    few, many = calls_of_a_move(500), calls_of_a_move(4000)
    assert many < 8 * few * 2


def calls_of_a_move(queued: int) -> int:
    """How many built-in functions are called when so many connections aren't tied any more."""
    scheduler = with_workers(1, 2, limit=queued)
    for number in range(queued):
        scheduler.accepted(0, 7, b"%d" % number)
    drain(scheduler, now=10)
    calls = 0

    def note(_frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "c_call"

    sys.setprofile(note)
    try:
        scheduler.tick(10.2)
        assert drain(scheduler, now=10.2) == []
    finally:
        sys.setprofile(None)
    assert len(by_key(scheduler).waiting.open) == queued - 2
    return calls


def test_a_policy_without_an_opinion_has_plain_lanes() -> None:
    [lane] = Scheduler(1, RoundRobin).lanes.values()
    assert lane.by_key is None
    assert lane.queue is lane.joining
    assert not isinstance(RoundRobin(), Sticky)


KEYS = [b"", b"a", b"b", b"c", b"d"]


class StickyMachine(SchedulerMachine):
    """Whatever happens: what goes, where and when, is what the oracle says."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = 5
        self.recall: float | None = 0.1
        self.slots: dict[int, int] = {}
        self.keys: dict[int, tuple[int, bytes]] = {}  # by number: the lane, and the key
        self.scheduler = sticky_scheduler(2, limit=5)
        self.oracles = {0: StickyLane(0.1), 1: StickyLane(0.1)}
        for worker in (1, 2, 3):
            self.enter(worker, worker)

    @rule(
        policy=st.just("source-hash"),
        window=st.integers(1, 3),
        recall=st.sampled_from([None, 0.1]),
        lead=st.sampled_from([None, LEAD]),
        exclusive=st.sampled_from([set(), {0}, {1}]),
        limit=st.sampled_from([5, 9, 40]),
    )
    def start_over(
        self,
        policy: str,  # noqa: ARG002 - as in the machine that this is made from
        window: int,
        recall: float | None,
        lead: Lead | None,
        exclusive: set[int],
        limit: int,
    ) -> None:
        if not self.all:
            self.window, self.exclusive, self.limit = window, exclusive, limit
            self.recall = recall
            self.shut.clear()
            self.begin_with_two_lanes()
            self.oracles = {0: StickyLane(recall), 1: StickyLane(recall)}
            self.scheduler = sticky_scheduler(
                2, window=window, limit=limit, recall=recall, lead=lead, exclusive=exclusive
            )
            for worker in self.workers:
                self.scheduler.roster.join(worker, slot=self.slots[worker])

    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        """In a slot that is vacant, or beside the one that it is to replace."""
        self.enter(self.ids + 1, data.draw(st.integers(1, 5)))
        self.settle()

    def enter(self, worker: int, slot: int) -> None:
        self.ids = worker
        self.workers.add(worker)
        self.slots[worker] = slot
        self.knows[worker] = set(self.lanes)
        self.scheduler.roster.join(worker, slot=slot)

    @rule()
    def add_lane(self) -> None:
        self.oracles[self.last_lane + 1] = StickyLane(self.recall)
        super().add_lane()

    @rule(key=st.sampled_from(KEYS[1:]))
    def accept_several(self, key: bytes) -> None:
        """One after the other, of one client: some have to wait."""
        for _ in range(3):
            self.accept_once(min(self.lanes, default=0), key)
        self.settle()

    def accept_once(self, lane: int, key: bytes) -> None:
        if lane in self.lanes and self.scheduler.accepting(lane):
            self.all += 1
            number = self.scheduler.accepted(lane, 3, key).number
            self.queued.add(number)
            self.keys[number] = lane, key

    @rule(data=st.data(), key=st.sampled_from(KEYS), times=st.integers(1, 4))
    def accept(self, data: st.DataObject, key: bytes, times: int) -> None:
        lane = self.a_lane(data)
        for _ in range(times if lane is not None else 0):
            self.accept_once(lane or 0, key)
        self.settle()

    def settle(self) -> None:
        for lane in sorted(self.lanes):
            while (late := self.scheduler.due_recall(lane)) is not None:
                assert self.now - late.sent_at >= 0.1 - 1e-9
                self.recall_from(late.worker)
        for lane in sorted(self.lanes):
            self.look(lane)
            while (connection := self.scheduler.assign(lane, self.now)) is not None:
                expected = self.oracles[lane].next()
                assert expected is not None
                assert connection.number == expected[0]
                assert connection.worker in expected[1]
                self.oracles[lane].sent(connection.number, connection.worker)
                self.queued.discard(connection.number)
                self.waited.pop(connection.number, None)
                self.inflight[connection.number] = connection
            assert self.oracles[lane].next() is None

    def look(self, lane: int) -> None:
        roster = self.scheduler.roster
        serving = {worker for worker in self.workers if self.serves(worker, lane)}

        def order(key: bytes) -> list[int]:
            policy = Rendezvous(lambda worker: b"slot %d" % self.slots[worker])
            return list(policy.prefer(key, dict.fromkeys(self.workers, 1)))

        self.oracles[lane].look(
            self.now,
            {n: self.keys[n][1] for n in self.queued if self.keys[n][0] == lane},
            {worker for worker in serving if not roster.held(worker) & LASTING},
            {
                worker: self.window - self.under_way(worker, lane)
                for worker in serving
                if not roster.held(worker)
            },
            order,
            self.slots,
            room_for(
                self.limit,
                sum(
                    lane in self.knows[w] and not roster.held(w) & Hold.CLOSED for w in self.workers
                ),
            ),
        )

    def under_way(self, worker: int, lane: int) -> int:
        return sum(c.worker == worker and c.lane == lane for c in self.inflight.values())

    @invariant()
    def nobody_waits_beside_a_free_credit_but_for_a_young_hand_off(self) -> None:
        """Here: but for its own worker, which is well and busy; and no queue is too long."""
        for lane in self.scheduler.lanes.values():
            free = {w for w in self.workers if self.serves(w, lane.index)}
            free = {
                worker
                for worker in free
                if not self.scheduler.roster.held(worker)
                and self.under_way(worker, lane.index) < self.window
            }
            waiting = by_key(self.scheduler, lane.index).waiting
            assert not waiting.joining
            assert not (free and waiting.open)
            for worker, own in waiting._own.items():
                assert own
                assert worker not in free
                assert self.serves(worker, lane.index)
                assert not self.scheduler.roster.held(worker) & LASTING
                assert all(c.tied_until > self.now for c in own)

    @invariant()
    def queues_are_in_accept_order(self) -> None:
        for lane in self.scheduler.lanes.values():
            waiting = by_key(self.scheduler, lane.index).waiting
            for queue in (lane.queue, waiting.open, *waiting._own.values()):
                numbers = [c.number for c in queue]
                assert numbers == sorted(numbers)
            assert len(lane.queue) == len(list(lane.queue))

    @invariant()
    def nobody_waits_for_long(self) -> None:
        if self.recall is not None:
            assert all(waited <= self.recall + 1e-9 for waited in self.waited.values())

    @invariant()
    def accepting_means_room(self) -> None:
        for lane in self.scheduler.lanes.values():
            expected = self.somebody_has_room(lane.index) and len(lane.queue) < self.limit
            assert self.scheduler.accepting(lane.index) == expected


TestOracle = StickyMachine.TestCase
