"""What may be held back, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from balancer.http1 import outbox as module
from balancer.http1.outbox import AGE, HURRY, SLOW, Outbox

if TYPE_CHECKING:
    import pytest


@final
class Clock:
    """Stands still until it is told otherwise."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@final
class Answer:
    """A sender that writes its name down."""

    def __init__(self, name: str, sent: list[str]) -> None:
        self.name = name
        self.sent = sent

    def release(self) -> None:
        self.sent.append(self.name)


class Lab:
    """An outbox, its clock, and what has left it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        monkeypatch.setattr(module, "perf_counter", self.clock)
        self.outbox = Outbox()
        self.sent: list[str] = []

    def step(self, name: str, took: float = 0.0, *, last: bool = False) -> bool:
        """One connection's turn; whether its answer was held."""
        self.outbox.begin()
        held = self.outbox.collecting
        if held:
            self.outbox.add(Answer(name, self.sent))
        self.clock.now += took
        self.outbox.end(last=last)
        return held


def test_answers_leave_in_order_after_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    assert lab.step("a")
    assert lab.step("b")
    assert lab.sent == []
    lab.step("c", last=True)
    assert lab.sent == ["a", "b", "c"]


def test_nothing_waits_for_longer_than_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    lab.step("a", AGE * 0.6)
    assert lab.sent == []
    lab.step("b", AGE * 0.6)  # a is 1.2 old, b only 0.6
    assert lab.sent == ["a", "b"]
    lab.step("c", AGE * 0.6)  # and the count begins anew
    assert lab.sent == ["a", "b"]


def test_after_a_slow_step_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    assert lab.step("slow", 2 * SLOW)
    assert lab.sent == ["slow"]
    for _ in range(HURRY):
        assert not lab.step("quick")
    assert lab.step("held again")


def test_nothing_is_collected_outside_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    assert not lab.outbox.collecting
    lab.outbox.begin()
    lab.outbox.flush()  # the connection has suspended
    assert not lab.outbox.collecting
