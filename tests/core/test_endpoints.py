"""Which endpoint is chosen: examples, and every policy against a plain oracle."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from balancer.core.endpoints import Chooser, ChooserConfig, EndpointState
from balancer.core.policy import make_policy
from balancer.core.policy.ewma import Ewma
from balancer.core.policy.least_connections import LeastConnections
from balancer.core.policy.rendezvous import Rendezvous
from balancer.core.policy.smooth_weighted import SmoothWeighted
from balancer.settings.policy import parse_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from balancer.core.policy import Policy

POLICY_TEXTS = ["round-robin", "least-connections", "p2c", "random", "hash:ip", "ewma", "first"]
NOW = 1000.0


def state(
    index: int,
    weight: int = 1,
    *,
    most: int = 0,
    backup: bool = False,
    drained: bool = False,
    down: bool = False,
    ejected_until: float = 0.0,
    since: float = -float("inf"),
) -> EndpointState:
    return EndpointState(
        index, f"10.0.0.{index}:80", weight, most, backup, drained, down, ejected_until, since
    )


def idle(_: int) -> float:
    return 0


def chooser_of(
    *states: EndpointState,
    policy: Policy | None = None,
    panic: float = 50,
    slow_start: float = 0.0,
) -> Chooser:
    policy = SmoothWeighted() if policy is None else policy
    chooser = Chooser(policy, ChooserConfig(panic, slow_start))
    chooser.update(states)
    return chooser


def choices(
    chooser: Chooser,
    count: int,
    *,
    now: float = NOW,
    loads: Callable[[int], float] = idle,
    tried: Collection[int] = (),
) -> list[int | None]:
    return [chooser.choose(b"", loads, now, tried) for _ in range(count)]


class TestPool:
    def test_primaries_by_weight(self) -> None:
        chooser = chooser_of(state(0, 5), state(1), state(2), state(3, backup=True))
        assert choices(chooser, 7) == [0, 0, 1, 0, 2, 0, 0]

    def test_nothing_is_chosen_of_nothing(self) -> None:
        chooser = Chooser(SmoothWeighted())
        assert chooser.choose(b"", idle, NOW) is None
        assert not chooser.usable(NOW)

    def test_down_drained_and_ejected_ones_get_nothing(self) -> None:
        chooser = chooser_of(
            state(0, down=True), state(1, drained=True), state(2, ejected_until=NOW + 1),
            state(3), state(4), state(5), state(6),
        )  # fmt: skip
        assert set(choices(chooser, 20)) == {3, 4, 5, 6}

    def test_an_ejection_ends_by_itself(self) -> None:
        chooser = chooser_of(state(0, ejected_until=NOW + 1), state(1))
        assert choices(chooser, 3) == [1, 1, 1]
        assert 0 in choices(chooser, 2, now=NOW + 1)

    def test_a_backup_stands_in_for_all_primaries_and_not_for_some(self) -> None:
        backup = state(2, backup=True)
        assert set(choices(chooser_of(state(0, down=True), state(1), backup), 5)) == {1}
        both_down = chooser_of(state(0, down=True), state(1, down=True), backup)
        assert set(choices(both_down, 5)) == {2}

    def test_in_a_panic_all_are_used_but_the_drained(self) -> None:
        chooser = chooser_of(
            state(0), state(1, down=True), state(2, ejected_until=NOW + 9), state(3, drained=True)
        )
        assert set(choices(chooser, 6)) == {0, 1, 2}

    def test_a_backup_that_is_ready_comes_before_a_panic(self) -> None:
        states = [state(0), state(1, down=True), state(2, down=True), state(3, backup=True)]
        assert set(choices(chooser_of(*states), 6)) == {0}

    def test_backups_panic_last(self) -> None:
        states = [state(0, drained=True), state(1, down=True, backup=True)]
        assert choices(chooser_of(*states), 2) == [1, 1]
        assert choices(chooser_of(*states, state(2, down=True)), 2) == [2, 2]

    def test_all_drained_is_none_at_all(self) -> None:
        chooser = chooser_of(state(0, drained=True), state(1, drained=True, backup=True))
        assert choices(chooser, 1) == [None]
        assert not chooser.usable(NOW)

    def test_without_panic_nobody_ill_is_used(self) -> None:
        chooser = chooser_of(state(0, down=True), state(1, down=True), panic=0)
        assert choices(chooser, 1) == [None]
        assert not chooser.usable(NOW)


class TestLimits:
    def test_who_is_full_is_passed_over(self) -> None:
        chooser = chooser_of(state(0, most=1), state(1))
        assert set(choices(chooser, 4, loads={0: 1, 1: 7}.__getitem__)) == {1}
        assert set(choices(chooser, 4)) == {0, 1}

    def test_full_primaries_are_waited_for_and_not_replaced(self) -> None:
        chooser = chooser_of(state(0, most=1), state(1, most=2), state(2, backup=True))
        loads = {0: 1, 1: 2, 2: 0}.__getitem__
        assert choices(chooser, 1, loads=loads) == [None]
        assert chooser.usable(NOW)
        assert choices(chooser, 1, loads=loads, tried=[0]) == [None]

    def test_a_retry_takes_who_was_tried_rather_than_wait(self) -> None:
        chooser = chooser_of(state(0), state(1, most=1))
        assert choices(chooser, 1, loads={0: 3, 1: 1}.__getitem__, tried=[0]) == [0]


class TestRetries:
    def test_another_is_preferred(self) -> None:
        chooser = chooser_of(state(0), state(1), state(2))
        assert set(choices(chooser, 4, tried=[0, 2])) == {1}
        assert set(choices(chooser, 6, tried=[0, 1, 2])) == {0, 1, 2}

    def test_a_backup_before_one_that_was_tried(self) -> None:
        chooser = chooser_of(state(0), state(1, backup=True))
        assert choices(chooser, 2) == [0, 0]
        assert choices(chooser, 2, tried=[0]) == [1, 1]
        assert choices(chooser, 2, tried=[0, 1]) == [0, 0]

    def test_in_a_panic_who_is_ready_comes_first(self) -> None:
        chooser = chooser_of(state(0, down=True), state(1, down=True), state(2))
        assert choices(chooser, 2, tried=[0]) == [2, 2]
        assert choices(chooser, 2, tried=[0, 2]) == [1, 1]

    def test_a_detour_costs_the_others_nothing(self) -> None:
        chooser, counts = chooser_of(state(0, 3), state(1, 2), state(2, 1)), Counter[int | None]()
        for _ in range(60):
            chooser.choose(b"", idle, NOW, [0])
            counts.update(choices(chooser, 1))
        assert min(counts.values()) >= 10
        assert counts[0] >= 30


class TestPreference:
    def test_it_overrides_the_policy_while_it_is_fit(self) -> None:
        chooser = chooser_of(state(0), state(1, most=2), state(2, down=True), state(3, backup=True))
        for preferred, loads, tried, expected in [
            (1, 0, [], 1), (3, 0, [], 3), (1, 2, [], 0), (1, 0, [1], 0), (2, 0, [1], 0),
            (9, 0, [1], 0),
        ]:  # fmt: skip
            chosen = chooser.choose(b"", {0: 0, 1: loads, 3: 0}.__getitem__, NOW, tried, preferred)
            assert chosen == expected, (preferred, loads, tried)


class TestSlowStart:
    def test_a_returned_endpoint_grows_into_its_share(self) -> None:
        chooser = chooser_of(state(0, 2), state(1, 2, since=NOW), slow_start=10.0)
        for after, expected in [(0, 10), (5, 37), (10, 55), (99, 55)]:
            counts = Counter(choices(chooser, 110, now=NOW + after))
            assert abs(counts[1] - expected) <= 1, after

    def test_the_end_of_an_ejection_is_a_return(self) -> None:
        chooser = chooser_of(state(0), state(1, ejected_until=NOW), slow_start=10.0)
        assert abs(Counter(choices(chooser, 110))[1] - 10) <= 1
        assert abs(Counter(choices(chooser, 110, now=NOW + 10))[1] - 55) <= 1

    def test_nobody_starts_slowly_at_boot(self) -> None:
        chooser = chooser_of(state(0), state(1), slow_start=10.0)
        assert Counter(choices(chooser, 10)) == {0: 5, 1: 5}

    def test_its_steps_do_not_restart_the_rotation(self) -> None:
        """An idle least-connections rotates; every step of a slow start looks at all again."""
        chooser = chooser_of(
            state(0), state(1), state(2, since=NOW), policy=LeastConnections(), slow_start=10.0
        )
        found = [chooser.choose(b"", idle, NOW + step / 5) for step in range(45)]
        assert Counter(found) == {0: 15, 1: 15, 2: 15}


class TestPolicies:
    def test_loads_are_those_of_the_moment(self) -> None:
        chooser = chooser_of(state(0), state(1), state(2), policy=LeastConnections())
        assert choices(chooser, 2, loads={0: 3, 1: 1, 2: 2}.__getitem__) == [1, 1]
        assert choices(chooser, 2, loads={0: 0, 1: 1, 2: 2}.__getitem__) == [0, 0]

    def test_latencies_reach_the_policy_that_wants_them(self) -> None:
        chooser = chooser_of(state(0), state(1), policy=Ewma())
        assert chooser.uses_latency
        chooser.observe(0, 1.0, NOW)
        chooser.observe(1, 0.1, NOW)
        chooser.observe(9, 0.1, NOW)
        assert choices(chooser, 3) == [1, 1, 1]
        assert choices(chooser, 3, loads={0: 0, 1: 10}.__getitem__) == [0, 0, 0]
        plain = chooser_of(state(0), state(1))
        assert not plain.uses_latency
        plain.observe(0, 1.0, NOW)

    def test_it_says_whether_a_key_is_needed(self) -> None:
        names = {index: state(index).name.encode() for index in range(3)}
        assert chooser_of(policy=Rendezvous(names.__getitem__)).uses_key
        assert not chooser_of().uses_key

    def test_a_row_that_is_used_again_is_another_endpoint(self) -> None:
        chooser = chooser_of(state(0), state(1), policy=Ewma())
        for index in (0, 1):
            chooser.observe(index, 1.0 - index / 2, NOW)
        assert choices(chooser, 1) == [1]
        chooser.update([replace(state(0), name="10.0.0.9:80"), state(1)])
        assert choices(chooser, 1) == [0]  # never measured, and idle

    def test_a_change_of_health_is_no_other_endpoint(self) -> None:
        chooser = chooser_of(state(0), state(1), policy=Ewma())
        for index in (0, 1):
            chooser.observe(index, 1.0 - index / 2, NOW)
        chooser.update([state(0, down=True), state(1)])
        chooser.update([state(0), state(1)])
        assert choices(chooser, 1) == [1]


STATES = st.builds(
    EndpointState,
    index=st.integers(0, 5),
    name=st.just(""),
    weight=st.integers(1, 3),
    max=st.sampled_from([0, 0, 1, 2]),
    backup=st.booleans(),
    drained=st.sampled_from([False, False, False, True]),
    down=st.sampled_from([False, False, True]),
    ejected_until=st.sampled_from([0.0, 0.0, 5.0, 20.0]),
    since=st.sampled_from([-float("inf"), 0.0, 10.0]),
)


class ChooserAgainstAnOracle(RuleBasedStateMachine):
    """The rules as sets, without any memory of what the policy was told before."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[int, EndpointState] = {}
        self.loads = dict.fromkeys(range(6), 0)
        self.now = 0.0

    @initialize(
        text=st.sampled_from(POLICY_TEXTS),
        panic=st.sampled_from([0, 50, 100]),
        slow_start=st.sampled_from([0.0, 8.0]),
        seed=st.integers(0, 1 << 16),
    )
    def start(self, text: str, panic: int, slow_start: float, seed: int) -> None:
        self.text, self.panic, self.slow_start = text, panic, slow_start
        policy = make_policy(parse_policy(text), random.Random(seed).random, self.name_of)
        self.chooser = Chooser(policy, ChooserConfig(panic, slow_start))

    def name_of(self, index: int) -> bytes:
        return self.states[index].name.encode()

    @rule(state=STATES, name=st.sampled_from(["old", "new"]))
    def change(self, state: EndpointState, name: str) -> None:
        self.states[state.index] = replace(state, name=f"{state.index}.{name}:80")
        self.chooser.update(list(self.states.values()))

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        del self.states[data.draw(st.sampled_from(sorted(self.states)))]
        self.chooser.update(list(self.states.values()))

    @rule(seconds=st.sampled_from([0.01, 1.0, 5.0]))
    def later(self, seconds: float) -> None:
        self.now += seconds

    @rule(index=st.integers(0, 5), load=st.integers(0, 3))
    def load(self, index: int, load: int) -> None:
        self.loads[index] = load

    @rule(index=st.integers(0, 5), seconds=st.floats(0.001, 5))
    def answer(self, index: int, seconds: float) -> None:
        self.chooser.observe(index, seconds, self.now)

    @rule(
        tried=st.sets(st.integers(0, 5), max_size=3),
        prefer=st.sampled_from([None, None, None, 0, 3, 6]),
        key=st.sampled_from([b"", b"one", b"two"]),
    )
    def choose(self, tried: set[int], prefer: int | None, key: bytes) -> None:
        chosen = self.chooser.choose(key, self.loads.__getitem__, self.now, tried, prefer)
        ready = {i for i, state in self.states.items() if self.is_ready(state)}
        assert self.chooser.usable(self.now) is bool(self.pool(ready))
        if prefer in self.with_room(ready - tried):
            assert chosen == prefer
            return
        allowed = self.allowed(ready, tried)
        assert chosen in allowed if allowed else chosen is None
        if chosen is not None:
            self.check_the_rules(chosen, ready, tried)
            self.check_the_policy(chosen, allowed, key)
            self.loads[chosen] += 1

    # -- the oracle ---------------------------------------------------------------------------

    def is_ready(self, state: EndpointState) -> bool:
        return not (state.drained or state.down or self.now < state.ejected_until)

    def with_room(self, among: set[int]) -> set[int]:
        return {i for i in among if self.states[i].max == 0 or self.loads[i] < self.states[i].max}

    def split(self, among: set[int]) -> tuple[set[int], set[int]]:
        backups = {i for i in among if self.states[i].backup}
        return among - backups, backups

    def pool(self, ready: set[int]) -> set[int]:
        primaries, backups = self.split(ready)
        if backups:
            return primaries or backups
        willing = self.split({i for i, state in self.states.items() if not state.drained})
        rest = willing[0] or willing[1]
        panic = len(primaries) < len(rest) * self.panic / 100
        return rest if panic else primaries

    def allowed(self, ready: set[int], tried: set[int]) -> set[int]:
        pool = self.pool(ready)
        if not tried:
            return self.with_room(pool)
        primaries, backups = self.split(ready - tried)
        first = self.with_room(primaries or backups or pool - tried)
        return first or self.with_room(pool)

    def check_the_rules(self, chosen: int, ready: set[int], tried: set[int]) -> None:
        """What must hold however the pool is made up."""
        state = self.states[chosen]
        assert not state.drained
        assert state.max == 0 or self.loads[chosen] < state.max
        primaries, backups = self.split(ready)
        if chosen not in ready and (ready and not tried):
            counted = [s for s in self.states.values() if not s.drained and not s.backup]
            assert not backups, "an ill one, while a backup is ready"
            assert len(primaries) < len(counted) * self.panic / 100, "no panic"
        if state.backup and primaries - tried:
            raise AssertionError("a backup, while a primary is ready")
        if chosen in tried:
            assert not self.with_room(primaries - tried), "tried, while another is ready"
            assert not self.with_room(backups - tried) or primaries - tried

    def check_the_policy(self, chosen: int, allowed: set[int], key: bytes) -> None:
        costs = {i: self.loads[i] / self.states[i].weight for i in allowed}
        if self.text == "first":
            assert chosen == min(allowed)
        if self.slow_start:
            return
        if self.text == "least-connections":
            assert costs[chosen] == min(costs.values())
        if self.text == "p2c":
            assert costs[chosen] < max(costs.values()) or sorted(costs.values())[-2:] in (
                [costs[chosen]], [costs[chosen]] * 2,
            )  # fmt: skip
        if self.text == "hash:ip" and key:
            fresh = Rendezvous(self.name_of)
            for index in sorted(allowed):
                fresh.offer(index, 0, self.states[index].weight)
            assert chosen == fresh.pick(key)


TestChooserAgainstAnOracle = ChooserAgainstAnOracle.TestCase
TestChooserAgainstAnOracle.settings = settings(max_examples=150, stateful_step_count=40)


@pytest.mark.parametrize("text", POLICY_TEXTS)
def test_every_policy_works_here(text: str) -> None:
    policy = make_policy(parse_policy(text), random.Random(1).random, b"10.0.0.%d:80".__mod__)
    chooser = chooser_of(state(0, 2), state(1), state(2), state(3, down=True), policy=policy)
    keys = [b"%d" % number for number in range(60)]
    found = {chooser.choose(key, idle, NOW) for key in keys}
    assert found == ({0} if text == "first" else {0, 1, 2})
