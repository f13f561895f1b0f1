"""The scheduler: examples, Node as an oracle, and a state machine that checks the invariants."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from balancer.core.books import ANYBODY, Connection, Hold, Refusal
from balancer.core.lead import STEP
from balancer.core.pacing import LEAD, Lead
from balancer.core.policy import LeastConnections, RoundRobin
from balancer.core.scheduler import REDELIVERIES, Scheduler
from tests.core.oracle import NodeRoundRobin
from tests.core.policy.makers import WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER = float("inf")
EVENED = ["least-connections", "round-robin"]
"""The policies whose bursts are evened: the others say themselves what is even, or want no such
thing (``first``)."""


def drain(scheduler: Scheduler, lane: int = 0, now: float = 0.0) -> list[tuple[int, int]]:
    """Every hand-off that is due, as (number, worker)."""
    sent = []
    while (connection := scheduler.assign(lane, now)) is not None:
        sent.append((connection.number, connection.worker))
    return sent


def scheduler_of(
    *workers: int, lanes: int = 1, window: int = 1, recall: float | None = 0.1
) -> Scheduler:
    scheduler = Scheduler(lanes, RoundRobin, window=window, recall=recall, lead=None)
    for worker in workers:
        scheduler.roster.join(worker)
    return scheduler


class TestRoundRobin:
    def test_an_idle_system_rotates(self) -> None:
        scheduler, order = scheduler_of(1, 2, 3), []
        for _ in range(6):
            scheduler.accepted(0, 7)
            [(number, worker)] = drain(scheduler)
            order.append(worker)
            scheduler.acked(number, worker)
        assert order == [1, 2, 3, 1, 2, 3]

    def test_a_blocked_worker_gets_one_connection(self) -> None:
        scheduler, order = scheduler_of(1, 2, 3, recall=None), []
        for _ in range(7):
            scheduler.accepted(0, 7)
            [(number, worker)] = drain(scheduler)
            order.append(worker)
            if worker != 1:
                scheduler.acked(number, worker)
        assert order == [1, 2, 3, 2, 3, 2, 3]

    def test_the_queue_is_served_in_accept_order(self) -> None:
        scheduler = scheduler_of(1)
        for handle in range(4):
            scheduler.accepted(0, handle)
        assert drain(scheduler) == [(1, 1)]
        for number in (1, 2, 3):
            scheduler.acked(number, 1)
            assert drain(scheduler) == [(number + 1, 1)]

    def test_a_window_rotates_and_keeps_its_credit(self) -> None:
        scheduler = scheduler_of(1, 2, window=2)
        for handle in range(5):
            scheduler.accepted(0, handle)
        assert drain(scheduler) == [(1, 1), (2, 2), (3, 1), (4, 2)]
        scheduler.acked(2, 2)
        assert drain(scheduler) == [(5, 2)]

    def test_lanes_have_their_own_rotation(self) -> None:
        scheduler = scheduler_of(1, 2, lanes=2)
        scheduler.accepted(0, 7)
        assert drain(scheduler, 0) == [(1, 1)]
        scheduler.accepted(1, 8)
        assert drain(scheduler, 1) == [(2, 1)]


class TestDeath:
    def test_unacked_connections_go_to_the_head_in_accept_order(self) -> None:
        scheduler = scheduler_of(1, window=3)
        for handle in range(5):
            scheduler.accepted(0, handle)
        drain(scheduler)
        scheduler.acked(2, 1)
        drain(scheduler)
        assert scheduler.leave(1) == []
        scheduler.roster.join(2)
        scheduler.lanes[0].free.withdraw(2)
        assert [c.number for c in scheduler.lanes[0].queue] == [1, 3, 4, 5]

    def test_redeliveries_are_bounded(self) -> None:
        scheduler = scheduler_of()
        connection = scheduler.accepted(0, 7)
        for worker in range(1, REDELIVERIES + 1):
            scheduler.roster.join(worker)
            assert drain(scheduler) == [(1, worker)]
            assert scheduler.leave(worker) == []
        scheduler.roster.join(9)
        assert drain(scheduler) == [(1, 9)]
        assert scheduler.leave(9) == [connection]
        assert scheduler.pending() == 0

    def test_what_was_given_up_is_not_recalled(self) -> None:
        scheduler = scheduler_of()
        scheduler.accepted(0, 7)
        for worker in range(1, REDELIVERIES + 2):
            scheduler.roster.join(worker)
            drain(scheduler, now=float(worker))
            scheduler.tick(worker + 0.5)
            scheduler.leave(worker)
        scheduler.roster.join(9)
        assert scheduler.due_recall(0) is None

    def test_what_was_never_received_costs_no_redelivery(self) -> None:
        scheduler = scheduler_of()
        scheduler.accepted(0, 7)
        for worker in range(1, 10):
            scheduler.roster.join(worker)
            assert drain(scheduler) == [(1, worker)]
            assert scheduler.leave(worker, unreceived=[1]) == []

    def test_an_unknown_ack_is_ignored(self) -> None:
        assert scheduler_of(1).acked(99, 1) is None
        assert scheduler_of(1).refused(99, 1, Refusal.FULL, 0) is None
        assert scheduler_of(1).recalled(99) is None


class TestRefusal:
    def test_full_parks_the_worker_until_there_is_room(self) -> None:
        scheduler = scheduler_of(1, 2)
        scheduler.accepted(0, 7)
        drain(scheduler)
        scheduler.refused(1, 1, Refusal.FULL, 0)
        assert drain(scheduler) == [(1, 2)]
        scheduler.refused(1, 2, Refusal.FULL, 0)
        assert drain(scheduler) == []
        assert not scheduler.accepting(0)
        scheduler.roster.room(1)
        assert scheduler.accepting(0)
        assert drain(scheduler) == [(1, 1)]

    def test_a_worker_without_fds_cools_down_for_longer_and_longer(self) -> None:
        scheduler, rests, now = scheduler_of(1), [], 0.0
        scheduler.accepted(0, 7)
        for _ in range(8):
            drain(scheduler, now=now)
            scheduler.refused(1, 1, Refusal.NO_FDS, now)
            rests.append(round(scheduler.deadline() - now, 3))
            scheduler.tick(now + rests[-1] / 2)
            assert drain(scheduler) == []
            now = scheduler.deadline()
            scheduler.tick(now)
        assert rests == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
        drain(scheduler, now=now)
        scheduler.acked(1, 1)
        scheduler.accepted(0, 8)
        drain(scheduler, now=now)
        scheduler.refused(2, 1, Refusal.NO_FDS, now)
        assert scheduler.deadline() == pytest.approx(now + 0.1)

    def test_a_draining_worker_gets_nothing_more(self) -> None:
        scheduler = scheduler_of(1, 2)
        scheduler.accepted(0, 7)
        drain(scheduler)
        scheduler.refused(1, 1, Refusal.DRAINING, 0)
        assert drain(scheduler) == [(1, 2)]
        assert scheduler.roster.held(1) == Hold.CLOSED


class TestRecall:
    def test_a_free_worker_takes_what_is_overdue_at_once(self) -> None:
        scheduler = scheduler_of(1, 2)
        first = scheduler.accepted(0, 7)
        drain(scheduler, now=10.0)
        assert scheduler.deadline() == pytest.approx(10.1)
        assert scheduler.due_recall(0) is None
        scheduler.tick(10.11)
        assert scheduler.due_recall(0) is first
        scheduler.recalled(first.number)
        assert drain(scheduler, now=10.11) == [(1, 2)]
        assert scheduler.deadline() == pytest.approx(10.21)

    def test_whoever_becomes_free_takes_the_oldest(self) -> None:
        scheduler = scheduler_of(1, 2)
        for handle in range(3):
            scheduler.accepted(0, handle)
        drain(scheduler, now=10.0)
        scheduler.tick(10.2)
        assert scheduler.due_recall(0) is None  # both are late, nobody is free
        scheduler.acked(2, 2)
        recalled = scheduler.due_recall(0)
        assert recalled is not None
        assert recalled.number == 1
        scheduler.recalled(1)
        assert drain(scheduler, now=10.2) == [(1, 2)]

    @pytest.mark.parametrize("sign", ["beat", "ack"])
    def test_a_late_worker_is_out_until_it_shows_life(self, sign: str) -> None:
        scheduler = scheduler_of(1, 2, lanes=2)
        scheduler.accepted(0, 7)
        drain(scheduler, now=10.0)
        scheduler.tick(10.2)
        assert scheduler.roster.held(1) == Hold.OVERDUE
        scheduler.accepted(1, 8)
        assert drain(scheduler, 1, now=10.2) == [(2, 2)]
        if sign == "beat":
            scheduler.roster.beat(1)
        else:
            scheduler.acked(1, 1)
        assert scheduler.roster.held(1) == Hold.NOTHING
        scheduler.accepted(1, 9)
        assert drain(scheduler, 1, now=10.2) == [(3, 1)]

    def test_a_recall_that_came_too_late_is_not_repeated(self) -> None:
        scheduler = scheduler_of(1, 2)
        scheduler.accepted(0, 7)
        drain(scheduler, now=10.0)
        scheduler.tick(10.2)
        assert scheduler.due_recall(0) is not None
        scheduler.tick(10.4)
        assert scheduler.due_recall(0) is None
        assert scheduler.deadline() == NEVER

    def test_off_is_off(self) -> None:
        scheduler = scheduler_of(1, 2, recall=None)
        scheduler.accepted(0, 7)
        drain(scheduler, now=10.0)
        assert scheduler.deadline() == NEVER
        scheduler.tick(99.0)
        assert scheduler.due_recall(0) is None


class Fullest:
    """A policy nobody wants: the most loaded is next."""

    uses_load: ClassVar[bool] = True
    uses_key: ClassVar[bool] = False

    def __init__(self) -> None:
        self._loads: dict[int, float] = {}

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:  # noqa: ARG002 (protocol)
        self._loads[member] = load

    def withdraw(self, member: int) -> None:
        self._loads.pop(member, None)

    forget = withdraw

    def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
        if not self._loads:
            return None
        fullest = max(self._loads, key=self._loads.__getitem__)
        del self._loads[fullest]
        return fullest

    def __len__(self) -> int:
        return len(self._loads)


class TestLoads:
    def test_least_connections_counts_what_is_on_its_way(self) -> None:
        scheduler = Scheduler(1, LeastConnections, window=4, lead=None)
        for worker, active in ((1, 5), (2, 3), (3, 9)):
            scheduler.roster.join(worker)
            scheduler.roster.observe(worker, active, 0)
        for handle in range(4):
            scheduler.accepted(0, handle)
        assert drain(scheduler) == [(1, 2), (2, 2), (3, 1), (4, 2)]

    def test_another_policy_by_loads_decides_for_itself(self) -> None:
        """What is even in its measure isn't known: nobody waits, and nobody else is asked."""
        scheduler = Scheduler(1, Fullest, window=4)
        for worker in (1, 2, 3):
            scheduler.roster.join(worker)
        scheduler.roster.observe(2, active=1, accepted=0)
        for handle in range(4):
            scheduler.accepted(0, handle)
        assert [worker for _, worker in drain(scheduler)] == [2, 2, 2, 2]

    def test_what_the_worker_counts_already_is_not_counted_again(self) -> None:
        """It says that it serves a connection before the master has read the ack."""
        scheduler = Scheduler(1, LeastConnections, window=4)
        scheduler.roster.join(1)
        book = scheduler.roster.books[1]
        scheduler.roster.observe(1, active=3, accepted=0)
        for _ in range(2):
            scheduler.accepted(0, 7)
        [(first, _), (second, _)] = drain(scheduler)
        assert book.load == 5
        scheduler.roster.observe(1, active=4, accepted=1)
        assert book.load == 5
        scheduler.acked(first, 1)
        assert book.load == 5
        scheduler.acked(second, 1)  # and its own count is not known yet
        assert book.load == 5
        scheduler.roster.observe(1, active=4, accepted=2)
        assert book.load == 4
        scheduler.roster.observe(1, active=6, accepted=4)  # two that didn't come from here
        assert book.load == 6

    def test_a_full_pair_holds_until_the_next_ack(self) -> None:
        scheduler = scheduler_of(1, window=2)
        first, second = scheduler.accepted(0, 7), scheduler.accepted(0, 8)
        assert scheduler.assign(0, 0.0) is first
        assert scheduler.assign(0, 0.0) is second
        scheduler.unsent(second, 0.0)
        assert drain(scheduler) == []
        scheduler.acked(first.number, 1)
        assert drain(scheduler) == [(2, 1)]

    def test_a_full_pair_without_an_ack_to_come_is_tried_again(self) -> None:
        scheduler = scheduler_of(1)
        connection = scheduler.accepted(0, 7)
        assert scheduler.assign(0, 0.0) is connection
        scheduler.unsent(connection, 0.0)
        scheduler.tick(scheduler.deadline())
        assert drain(scheduler) == [(1, 1)]


def burst(
    scheduler: Scheduler, connections: int, next_to_ack: Callable[[list[int]], int]
) -> Counter[int]:
    """Who got how many of a burst, when one worker after the other acknowledges in no time."""
    counts: Counter[int] = Counter()
    inflight: dict[int, list[int]] = {}
    for _ in range(connections):
        scheduler.accepted(0, 7)
    while counts.total() < connections:
        for number, worker in drain(scheduler, now=1.0):
            inflight.setdefault(worker, []).append(number)
        worker = next_to_ack(sorted(worker for worker, numbers in inflight.items() if numbers))
        scheduler.acked(inflight[worker].pop(0), worker)
        counts[worker] += 1
    return counts


class TestLead:
    """Workers that are ahead wait for the others, but not for long."""

    @given(
        st.sampled_from(EVENED),
        st.integers(2, 7),
        st.integers(1, 4),
        st.integers(0, 120),
        st.data(),
    )
    def test_a_burst_is_spread_evenly_whoever_runs(
        self, policy: str, workers: int, window: int, connections: int, data: st.DataObject
    ) -> None:
        """The kernel runs whom it likes: here the same worker again and again, or anybody."""
        scheduler = Scheduler(1, WORKERS[policy], window=window)
        for worker in range(1, workers + 1):
            scheduler.roster.join(worker)
        favourites = data.draw(st.permutations(range(1, workers + 1)))
        random = data.draw(st.randoms(use_true_random=False))

        def next_to_ack(able: list[int]) -> int:
            if random.random() < 0.2:
                return random.choice(able)
            return next(worker for worker in favourites if worker in able)

        counts = burst(scheduler, connections, next_to_ack)
        shares = [counts[worker] for worker in range(1, workers + 1)]
        exact = 1 if policy == "least-connections" else max(1, min(shares) // STEP)
        assert max(shares) - min(shares) <= exact

    def test_without_it_whoever_runs_has_most(self) -> None:
        counts = burst(scheduler_of(1, 2, 3, 4, 5), 100, min)
        assert counts == {1: 96, 2: 1, 3: 1, 4: 1, 5: 1}

    @pytest.mark.parametrize("policy", EVENED)
    def test_who_is_late_is_not_waited_for(self, policy: str) -> None:
        scheduler = Scheduler(1, WORKERS[policy], recall=None)
        for worker in (1, 2):
            scheduler.roster.join(worker)
        for _ in range(5):
            scheduler.accepted(0, 7)
        assert drain(scheduler, now=1.0) == [(1, 1), (2, 2)]
        scheduler.acked(1, 1)
        assert drain(scheduler, now=1.0) == [(3, 1)]
        scheduler.acked(3, 1)
        assert drain(scheduler, now=1.005) == []
        assert scheduler.deadline() == 1.0 + LEAD.age
        scheduler.tick(1.0 + LEAD.age)
        assert drain(scheduler, now=1.0 + LEAD.age) == [(4, 1)]
        scheduler.acked(4, 1)
        assert drain(scheduler, now=1.0 + LEAD.age) == [(5, 1)]

    def test_who_was_late_starts_level_with_the_others(self) -> None:
        scheduler = Scheduler(1, RoundRobin, recall=None)
        for worker in (1, 2):
            scheduler.roster.join(worker)
        for _ in range(20):
            scheduler.accepted(0, 7)
        drain(scheduler, now=1.0)
        now = 1.0 + LEAD.age
        for number in (1, *range(3, 12)):  # all of the first worker's
            scheduler.acked(number, 1)
            drain(scheduler, now=now)
        scheduler.acked(2, 2)
        assert drain(scheduler, now=now) == [(13, 2)]
        scheduler.acked(12, 1)
        assert drain(scheduler, now=now) == [(14, 1)]
        scheduler.acked(14, 1)
        assert drain(scheduler, now=now) == [(15, 1)]
        scheduler.acked(15, 1)
        assert drain(scheduler, now=now) == []  # one ahead of level, and no further

    @pytest.mark.parametrize("reason", [Hold.SILENT, Hold.CLOSED])
    def test_who_is_held_is_not_waited_for(self, reason: Hold) -> None:
        scheduler = Scheduler(1, RoundRobin)
        for worker in (1, 2):
            scheduler.roster.join(worker)
        for _ in range(4):
            scheduler.accepted(0, 7)
        drain(scheduler, now=1.0)
        scheduler.acked(1, 1)
        drain(scheduler, now=1.0)
        scheduler.acked(3, 1)
        assert drain(scheduler, now=1.0) == []
        scheduler.roster.hold(2, reason)
        assert drain(scheduler, now=1.0) == [(4, 1)]

    def test_a_run_without_end_is_slowed_down_once(self) -> None:
        """One worker takes 5 ms for a connection, the other none: it waits, but not for ever."""
        scheduler = Scheduler(1, RoundRobin, recall=None)
        for worker in (1, 2):
            scheduler.roster.join(worker)
        waited, quick = 0.0, Counter[bool]()
        slow: list[Connection] = []
        for millisecond in range(1000):
            now = 1.0 + millisecond / 1000
            scheduler.tick(now)
            if slow and now >= slow[0].sent_at + 0.005:
                scheduler.acked(slow.pop().number, 2)
            for _ in range(10):
                scheduler.accepted(0, 7)  # there is always a queue
                connection = scheduler.assign(0, now)
                if connection is not None and connection.worker == 1:
                    scheduler.acked(connection.number, 1)
                    quick[millisecond < 500] += 1
                elif connection is not None:
                    slow.append(connection)
            waited += 0.001 * (scheduler.next_turn() != NEVER)
        assert 0.01 < waited <= LEAD.patience + 0.002
        assert quick[False] > 4500

    def test_an_idle_system_rotates_as_nodes_does(self) -> None:
        scheduler, order = Scheduler(1, RoundRobin), []
        for worker in (1, 2, 3):
            scheduler.roster.join(worker)
        for step in range(9):
            scheduler.accepted(0, 7)
            [(number, worker)] = drain(scheduler, now=step * 0.01)
            order.append(worker)
            scheduler.acked(number, worker)
        assert order == [1, 2, 3] * 3


class NodeMachine(RuleBasedStateMachine):
    """With a window of one and no recall, the scheduler sends what Node sends."""

    def __init__(self) -> None:
        super().__init__()
        self.node = NodeRoundRobin()
        self.ours = Scheduler(1, RoundRobin, recall=None, lead=None)
        self.sent: list[tuple[int, int]] = []
        self.inflight: dict[int, int] = {}  # worker -> number
        self.ids = 0

    def settle(self) -> None:
        for number, worker in drain(self.ours):
            self.sent.append((number, worker))
            self.inflight[worker] = number

    @rule()
    def listen(self) -> None:
        self.ids += 1
        self.node.listen(self.ids)
        self.ours.roster.join(self.ids)
        self.settle()

    @rule()
    def accept(self) -> None:
        connection = self.ours.accepted(0, 0)
        self.node.accept(connection.number)
        self.settle()

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        if self.inflight:
            worker = data.draw(st.sampled_from(sorted(self.inflight)))
            self.ours.acked(self.inflight.pop(worker), worker)
            self.node.ack(worker)
            self.settle()

    @rule(data=st.data())
    def remove_an_idle_worker(self, data: st.DataObject) -> None:
        idle = sorted(self.node.all - set(self.inflight))
        if idle:
            worker = data.draw(st.sampled_from(idle))
            self.node.remove(worker)
            assert self.ours.leave(worker) == []

    @invariant()
    def the_same_was_sent(self) -> None:
        assert self.sent == self.node.sent


TestAgainstNode = NodeMachine.TestCase


class SchedulerMachine(RuleBasedStateMachine):
    """Whatever happens: every connection is in one place, and nobody waits beside a free credit."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ids = 0
        self.lead: Lead | None = None
        self.scheduler = Scheduler(2, RoundRobin, limit=5, lead=None)
        self.waited: dict[int, float] = {}  # by number: how long beside somebody free
        self.window = 1
        self.workers: set[int] = set()
        self.received: set[int] = set()  # numbers that left the socket, and can't be recalled
        self.inflight: dict[int, Connection] = {}
        self.queued: set[int] = set()
        self.delivered: set[int] = set()
        self.dropped: set[int] = set()
        self.all = 0
        self.shut: set[tuple[int, int]] = set()
        self.exclusive: set[int] = set()
        self.lanes = {0, 1}
        self.last_lane = 1
        self.knows: dict[int, set[int]] = {}  # by worker: the lanes that it was born with

    @rule(
        policy=st.sampled_from(sorted(WORKERS)),
        window=st.integers(1, 3),
        recall=st.sampled_from([None, 0.1]),
        lead=st.sampled_from([None, LEAD, Lead(age=0.03, patience=0.02)]),
        exclusive=st.sets(st.integers(0, 1)),
    )
    def start_over(
        self,
        policy: str,
        window: int,
        recall: float | None,
        lead: Lead | None,
        exclusive: set[int],
    ) -> None:
        if not self.all:
            self.window, self.exclusive, self.lead = window, exclusive, lead
            self.shut.clear()
            self.begin_with_two_lanes()
            self.scheduler = Scheduler(
                2,
                WORKERS[policy],
                window=window,
                limit=5,
                recall=recall,
                lead=lead,
                exclusive=exclusive,
            )
            for worker in self.workers:
                self.scheduler.roster.join(worker)

    def begin_with_two_lanes(self) -> None:
        self.lanes, self.last_lane = {0, 1}, 1
        self.knows = {worker: {0, 1} for worker in self.workers}

    def settle(self) -> None:
        for lane in sorted(self.lanes):
            while (late := self.scheduler.due_recall(lane)) is not None:
                assert self.now - late.sent_at >= 0.1 - 1e-9
                self.recall_from(late.worker)
        for lane in sorted(self.lanes):
            while (connection := self.scheduler.assign(lane, self.now)) is not None:
                assert connection.number in self.queued
                assert connection.number not in self.inflight
                self.queued.discard(connection.number)
                self.waited.pop(connection.number, None)
                self.inflight[connection.number] = connection

    def recall_from(self, worker: int) -> None:
        for number in self.unreceived(worker):
            assert self.scheduler.recalled(number) is self.inflight.pop(number)
            self.queued.add(number)

    def unreceived(self, worker: int) -> list[int]:
        return [
            number
            for number, connection in self.inflight.items()
            if connection.worker == worker and number not in self.received
        ]

    def choose(self, data: st.DataObject) -> int | None:
        return data.draw(st.sampled_from(sorted(self.inflight))) if self.inflight else None

    @rule()
    def join(self) -> None:
        self.ids += 1
        self.workers.add(self.ids)
        self.knows[self.ids] = set(self.lanes)
        self.scheduler.roster.join(self.ids)
        self.settle()

    @rule()
    def add_lane(self) -> None:
        self.last_lane += 1
        self.lanes.add(self.last_lane)
        self.scheduler.roster.add_lane(self.last_lane)
        self.settle()

    @rule(data=st.data())
    def remove_lane(self, data: st.DataObject) -> None:
        if self.lanes:
            lane = data.draw(st.sampled_from(sorted(self.lanes)))
            queued = {c.number for c in self.scheduler.lanes[lane].queue}
            given_up = self.scheduler.remove_lane(lane)
            if any(c.lane == lane for c in self.inflight.values()):
                assert given_up is None
                return
            assert given_up is not None
            assert {c.number for c in given_up} == queued
            self.lanes.discard(lane)
            self.shut = {each for each in self.shut if each[1] != lane}
            self.queued -= queued
            self.dropped |= queued
            self.settle()

    def a_lane(self, data: st.DataObject) -> int | None:
        return data.draw(st.sampled_from(sorted(self.lanes))) if self.lanes else None

    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        if not self.workers:
            return
        worker = data.draw(st.sampled_from(sorted(self.workers)))
        self.workers.discard(worker)
        unreceived = self.unreceived(worker)
        theirs = [n for n, c in self.inflight.items() if c.worker == worker]
        for connection in self.scheduler.leave(worker, unreceived=unreceived):
            assert connection.number not in unreceived
            self.dropped.add(connection.number)
        for number in theirs:
            del self.inflight[number]
            self.received.discard(number)
            if number not in self.dropped:
                self.queued.add(number)
        self.settle()

    @rule(data=st.data())
    def accept(self, data: st.DataObject) -> None:
        lane = self.a_lane(data)
        if lane is not None and self.scheduler.accepting(lane):
            self.all += 1
            self.queued.add(self.scheduler.accepted(lane, 3).number)
            self.settle()

    @rule(data=st.data())
    def receive(self, data: st.DataObject) -> None:
        if (number := self.choose(data)) is not None:
            self.received.add(number)

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        if (number := self.choose(data)) is not None:
            connection = self.inflight.pop(number)
            assert self.scheduler.acked(number, connection.worker) is connection
            assert self.scheduler.acked(number, connection.worker) is None
            self.delivered.add(number)
            self.received.discard(number)
            self.settle()

    @rule(data=st.data(), reason=st.sampled_from(Refusal))
    def refuse(self, data: st.DataObject, reason: Refusal) -> None:
        if (number := self.choose(data)) is not None:
            connection = self.inflight.pop(number)
            worker = connection.worker
            assert self.scheduler.refused(number, worker, reason, self.now) is connection
            self.received.discard(number)
            self.queued.add(number)
            if reason is Refusal.SHUT:
                self.shut.add((worker, connection.lane))
            self.settle()

    @rule(data=st.data())
    def close_lane(self, data: st.DataObject) -> None:
        pairs = [(worker, lane) for worker in self.workers for lane in self.known(worker)]
        if pairs:
            worker, lane = data.draw(st.sampled_from(sorted(pairs)))
            self.shut.add((worker, lane))
            self.scheduler.roster.shut(worker, lane)
            self.settle()

    @rule(data=st.data())
    def reopen_lane(self, data: st.DataObject) -> None:
        if shut := sorted(each for each in self.shut if each[0] in self.workers):
            worker, lane = data.draw(st.sampled_from(shut))
            self.shut.discard((worker, lane))
            self.scheduler.roster.reopen(worker, lane)
            self.settle()

    def serves(self, worker: int, lane: int) -> bool:
        owner = self.scheduler.lanes[lane].owner
        return (
            lane in self.knows[worker]
            and (worker, lane) not in self.shut
            and (lane not in self.exclusive or owner == worker)
        )

    def known(self, worker: int) -> set[int]:
        return self.knows[worker] & self.lanes

    @rule(data=st.data())
    def forge(self, data: st.DataObject) -> None:
        number = self.choose(data)
        others = self.workers - {self.inflight[number].worker} if number is not None else set()
        if number is not None and others:
            forger = data.draw(st.sampled_from(sorted(others)))
            assert self.scheduler.acked(number, forger) is None
            assert self.scheduler.refused(number, forger, Refusal.FULL, self.now) is None

    @rule(data=st.data())
    def have_room(self, data: st.DataObject) -> None:
        if self.workers:
            self.scheduler.roster.room(data.draw(st.sampled_from(sorted(self.workers))))
            self.settle()

    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        if self.workers:
            self.scheduler.roster.beat(data.draw(st.sampled_from(sorted(self.workers))))
            self.settle()

    @rule(data=st.data(), active=st.integers(0, 4))
    def observe(self, data: st.DataObject, active: int) -> None:
        if self.workers:
            self.scheduler.roster.observe(
                data.draw(st.sampled_from(sorted(self.workers))), active, active
            )

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.2, 6.0]))
    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            then = min(end, self.scheduler.deadline())
            for number in self.waiting():
                self.waited[number] = self.waited.get(number, 0.0) + then - self.now
            self.now = then
            self.scheduler.tick(self.now)
            assert self.scheduler.deadline() > self.now
            self.settle()

    def waiting(self) -> list[int]:
        """Who is queued beside a worker that is free."""
        return [
            c.number for lane in self.scheduler.lanes.values() if len(lane.free) for c in lane.queue
        ]

    @invariant()
    def every_connection_is_in_one_place(self) -> None:
        places = [self.queued, set(self.inflight), self.delivered, self.dropped]
        assert sum(map(len, places)) == self.all
        assert len(set().union(*places)) == self.all
        queues = [c.number for lane in self.scheduler.lanes.values() for c in lane.queue]
        assert set(queues) == self.queued
        assert self.scheduler.pending() == len(self.queued) + len(self.inflight)

    @invariant()
    def queues_are_in_accept_order(self) -> None:
        for lane in self.scheduler.lanes.values():
            numbers = [c.number for c in lane.queue]
            assert numbers == sorted(numbers)

    @invariant()
    def nobody_waits_beside_a_free_credit_but_for_a_young_hand_off(self) -> None:
        """Who may wait, and for whom: for a worker that isn't held and may answer any moment."""
        for lane in self.scheduler.lanes.values():
            if not lane.queue or not len(lane.free):
                continue
            assert self.lead is not None
            assert self.scheduler.deadline() > self.now
            ages = [
                self.now - c.sent_at
                for c in self.inflight.values()
                if c.lane == lane.index and not self.scheduler.roster.held(c.worker)
            ]
            assert min(ages) < self.lead.age

    @invariant()
    def nobody_waits_for_long(self) -> None:
        """However many hand-offs it is that a connection waits for."""
        patience = self.lead.patience if self.lead else 0.0
        assert all(waited <= patience + 1e-9 for waited in self.waited.values())

    @invariant()
    def windows_hold_and_free_means_free(self) -> None:
        for worker in self.workers:
            mine = [c for c in self.inflight.values() if c.worker == worker]
            for index in self.lanes:
                assert sum(c.lane == index for c in mine) <= self.window
            assert self.scheduler.unacked(worker) == len(mine)
        for lane in self.scheduler.lanes.values():
            expected = {
                worker
                for worker in self.workers
                if not self.scheduler.roster.held(worker)
                and self.serves(worker, lane.index)
                and sum(c.lane == lane.index for c in self.inflight.values() if c.worker == worker)
                < self.window
            }
            assert len(lane.free) == len(expected)

    @invariant()
    def an_exclusive_lane_has_one_owner_if_anybody_can_be(self) -> None:
        for lane in self.scheduler.lanes.values():
            able = {
                worker
                for worker in self.workers
                if not self.scheduler.roster.held(worker) & Hold.CLOSED
                and lane.index in self.knows[worker]
                and (worker, lane.index) not in self.shut
            }
            if lane.index in self.exclusive:
                assert lane.owner in able if able else lane.owner == 0

    @invariant()
    def accepting_means_room(self) -> None:
        for lane in self.scheduler.lanes.values():
            roomy = self.somebody_has_room(lane.index)
            assert self.scheduler.accepting(lane.index) == (roomy and len(lane.queue) < 5)

    def somebody_has_room(self, lane: int) -> bool:
        no_room = Hold.FULL | Hold.CLOSED
        return any(
            lane in self.knows[worker] and not self.scheduler.roster.held(worker) & no_room
            for worker in self.workers
        )

    @invariant()
    def lanes_are_those_that_were_added_and_not_removed(self) -> None:
        assert set(self.scheduler.lanes) == self.lanes
        assert self.exclusive & self.lanes == {
            lane.index for lane in self.scheduler.lanes.values() if lane.owner != ANYBODY
        }


TestInvariants = SchedulerMachine.TestCase
