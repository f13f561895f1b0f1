"""Policies through the command line: whom connections that stay are with, one by one."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support import raw
from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from pathlib import Path

OWN = '''
import balancer

class Newest(balancer.Policy):
    """Whoever became free last."""

    def __init__(self):
        self.members = {}

    def offer(self, member, load=0, weight=1):
        self.members[member] = None

    def withdraw(self, member):
        self.members.pop(member, None)

    forget = withdraw

    def pick(self, key=b""):
        return self.members.popitem()[0] if self.members else None

    def __len__(self):
        return len(self.members)

class Tired(Newest):
    def __init__(self):
        super().__init__()
        self.left = 4

    def pick(self, key=b""):
        self.left -= 1
        if not self.left:
            raise LookupError("enough for today")
        return super().pick(key)
'''


def spread(server: BalancerServer, count: int) -> list[int]:
    """So many connections, each opened when a worker has the one before; how many each slot has."""
    with ExitStack() as stack:
        for number in range(1, count + 1):
            stack.enter_context(raw.RawConnection(server.port))
            active = _await_active(server, number)
        return active


def _await_active(server: BalancerServer, count: int) -> list[int]:
    status = server.wait_for(lambda status: sum(w["active"] for w in status["workers"]) == count)
    workers = sorted(status["workers"], key=lambda worker: int(worker["slot"]))
    return [worker["active"] for worker in workers]


@pytest.mark.parametrize(("policy", "most"), [("p2c", 4), ("updown", 2)])
def test_the_less_loaded_of_two(policy: str, most: int) -> None:
    with BalancerServer("--policy", policy, workers=3) as server:
        assert server.status()["master"]["policy"] == policy
        found = spread(server, 30)
    assert sum(found) == 30
    assert max(found) - min(found) <= most


def test_by_chance_everybody_has_some() -> None:
    with BalancerServer("--policy", "random", workers=2) as server:
        found = spread(server, 40)
    assert sum(found) == 40
    assert min(found) > 0  # but once in 500 billion runs


@pytest.mark.parametrize("policy", ["weighted", "least-connections"])
def test_weights_are_the_slots(policy: str) -> None:
    args = ("--policy", policy, "--worker-weights", "3,2")
    with BalancerServer(*args, workers=3) as server:
        assert spread(server, 24) == [12, 8, 4]
        server.kill(1)
        server.wait_for(lambda status: 4 in {worker["id"] for worker in status["workers"]})
        server.wait_ready(3)
        assert spread(server, 24) == [12, 8, 4]


def test_the_first_has_all_that_it_can() -> None:
    args = ("--policy", "first", "--worker-connections", "5")
    with BalancerServer(*args, workers=3) as server:
        assert spread(server, 12) == [5, 5, 2]


def test_a_users_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    args = ("--policy", "mine:Newest", "--app-dir", str(tmp_path))
    with BalancerServer(*args, workers=2) as server:
        assert server.status()["master"]["policy"] == "mine:Newest"
        assert sorted(spread(server, 6)) == [0, 6]


def test_one_that_fails_is_logged_once_and_nobody_is_lost(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    args = ("--policy", "mine:Tired", "--app-dir", str(tmp_path))
    with BalancerServer(*args, workers=2) as server:
        assert sorted(spread(server, 23)) == [10, 13]  # three by it, then ten each
        log = "\n".join(server.log_lines())
    assert log.count("has failed, and round-robin takes its place") == 1
    assert log.count('raise LookupError("enough for today")') == 1
