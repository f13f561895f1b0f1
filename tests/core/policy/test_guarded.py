"""Somebody else's policy: what it does wrong costs nobody anything."""

from __future__ import annotations

from asyncio import CancelledError
from collections import OrderedDict
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.policy import Policy, RoundRobin
from balancer.core.policy.guarded import Guarded, PolicyError
from tests.core.policy.makers import pick_all

if TYPE_CHECKING:
    from collections.abc import Callable


class Brittle:
    """Round-robin from the other end, which fails at a certain call, in a certain way."""

    uses_load = True
    uses_key = True

    def __init__(self, fails_at: int, fault: Callable[[], object]) -> None:
        self._left = fails_at
        self._fault = fault
        self._offered: OrderedDict[int, None] = OrderedDict()

    def _wear(self) -> object:
        self._left -= 1
        return self._fault() if self._left < 0 else ...

    def offer(self, member: int, load: float = 0, weight: float = 1) -> None:  # noqa: ARG002
        self._wear()
        self._offered[member] = None

    def withdraw(self, member: int) -> None:
        self._wear()
        self._offered.pop(member, None)

    forget = withdraw

    def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
        if (wrong := self._wear()) is not ...:
            return wrong  # type: ignore[return-value]  # what a user's policy might return
        return self._offered.popitem()[0] if self._offered else None

    def __len__(self) -> int:
        return len(self._offered)


def explode() -> object:
    raise ZeroDivisionError


def leave() -> object:
    raise SystemExit(3)


def give_up() -> object:
    raise CancelledError  # no Exception


FAULTS: dict[str, Callable[[], object]] = {
    "raises": explode,
    "wants to exit": leave,
    "raises what few catch": give_up,
    "picks nobody": lambda: None,
    "picks somebody else": lambda: 99,
    "picks what nobody is": lambda: [1],
    "picks a bool": lambda: True,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@given(st.integers(0, 20), st.lists(st.tuples(st.sampled_from("owfp"), st.integers(1, 4))))
def test_no_member_is_lost(
    fault: Callable[[], object], fails_at: int, events: list[tuple[str, int]]
) -> None:
    errors: list[BaseException] = []
    policy, offered = Guarded(Brittle(fails_at, fault), errors.append), dict[int, None]()
    for event, member in events:
        if event == "p":
            picked = policy.pick(b"key")
            assert (picked is None) == (not offered)
            if picked is not None:
                del offered[picked]
        elif event == "o":
            policy.offer(member, 1, 2)
            offered[member] = None
        else:
            (policy.withdraw if event == "w" else policy.forget)(member)
            offered.pop(member, None)
        assert len(policy) == len(offered)
        assert len(errors) <= 1
    order = pick_all(policy)
    if not errors:
        order.reverse()
    elif isinstance(policy._policy, RoundRobin) and order:
        assert set(order) == set(offered)
        return
    assert set(order) == set(offered)


def test_whoever_was_offered_is_in_turn_in_the_order_of_the_offers() -> None:
    errors: list[BaseException] = []
    policy = Guarded(Brittle(5, explode), errors.append)
    for member in (3, 1, 4):
        policy.offer(member)
    policy.withdraw(1)
    policy.offer(1)
    assert pick_all(policy) == [3, 4, 1]
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_what_it_picked_wrongly_is_said() -> None:
    errors: list[BaseException] = []
    policy = Guarded(Brittle(1, lambda: 99), errors.append)
    policy.offer(7)
    assert policy.pick() == 7
    [error] = errors
    assert isinstance(error, PolicyError)
    assert str(error) == "picked 99, which is not offered"
    silent = Guarded(Brittle(1, lambda: None), errors.append)
    silent.offer(7)
    assert silent.pick() == 7
    assert str(errors[1]) == "picked nobody, although 1 are offered"


def test_it_needs_what_the_policy_needs() -> None:
    def fail(error: BaseException) -> None:
        raise AssertionError from error

    policy = Guarded(Brittle(9, explode), fail)
    assert (policy.uses_load, policy.uses_key) == (True, True)

    class Modest(Policy):
        def offer(self, member: int, load: float = 0, weight: float = 1) -> None: ...
        def withdraw(self, member: int) -> None: ...
        def forget(self, member: int) -> None: ...
        def pick(self, key: bytes = b"") -> int | None:  # noqa: ARG002 (protocol)
            return None

        def __len__(self) -> int:
            return 0

    policy = Guarded(Modest(), fail)
    assert (policy.uses_load, policy.uses_key) == (False, False)


def test_an_interruption_is_not_its_fault() -> None:
    def interrupt() -> object:
        raise KeyboardInterrupt

    errors: list[BaseException] = []
    policy = Guarded(Brittle(1, interrupt), errors.append)
    policy.offer(7)
    with pytest.raises(KeyboardInterrupt):
        policy.pick()
    assert errors == []
