"""The user's own policy: found or refused in one sentence, and watched from then on."""

from __future__ import annotations

import logging
import random
import sys
from typing import TYPE_CHECKING

import pytest

from balancer import Policy
from balancer.core.policy import KERNEL_POLICIES, POLICIES
from balancer.core.policy.guarded import Guarded
from balancer.errors import ExitCode, UsageError
from balancer.master.policies import METHODS, find_policy
from balancer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = """
class Last:
    uses_load = True

    def __init__(self):
        self.members = []

    def offer(self, member, load, weight):
        self.withdraw(member)
        self.members.append(member)

    def withdraw(self, member):
        if member in self.members:
            self.members.remove(member)

    forget = withdraw

    def pick(self, key):
        return self.members.pop()

    def __len__(self):
        return len(self.members)

class Holder:
    Inner = Last

def make():
    return Last()

class Bare: pass

from balancer import Policy

class Derived(Policy):
    def offer(self, member, load, weight): pass

class Slow(Last):
    async def pick(self, key): pass

class Needy(Last):
    def __init__(self, number): pass

class Leaver(Last):
    def __init__(self):
        raise SystemExit(1)

class Shy(Last):
    @property
    def uses_load(self):
        raise ValueError("don't ask")

class Fragile(Last):
    def pick(self, key):
        return {}[key]

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "own_policies.py").write_text(GOOD)
    (tmp_path / "broken_policies.py").write_text("import nowhere.at.all\n")
    (tmp_path / "wrong_policies.py").write_text("1 / 0\n")
    path = sys.path[:]
    yield tmp_path
    sys.path[:] = path
    for name in ("own_policies", "broken_policies", "wrong_policies"):
        sys.modules.pop(name, None)


def name_of(member: int) -> bytes:
    return b"slot %d" % member


def make(folder: Path, policy: str) -> Policy:
    settings = Settings(policy=policy, app_dir=str(folder))
    return find_policy(settings)(random.random, name_of)


@pytest.mark.parametrize("name", POLICIES)
def test_ours_are_those_of_the_table(name: str) -> None:
    assert find_policy(Settings(policy=name)) is POLICIES[name]


@pytest.mark.parametrize("name", sorted(KERNEL_POLICIES))
def test_where_the_kernel_decides_the_few_of_the_master_rotate(name: str) -> None:
    assert find_policy(Settings(policy=name)) is POLICIES["round-robin"]


@pytest.mark.parametrize("attr", ["Last", "Holder.Inner", "make"])
def test_a_users_own(folder: Path, attr: str) -> None:
    policy = make(folder, f"own_policies:{attr}")
    assert isinstance(policy, Guarded)
    assert (policy.uses_load, policy.uses_key) == (True, False)
    for member in (1, 2, 3):
        policy.offer(member, 0, 1)
    assert [policy.pick(), policy.pick()] == [3, 2]


def test_one_is_made_for_each_listener(folder: Path) -> None:
    settings = Settings(policy="own_policies:Last", app_dir=str(folder))
    maker = find_policy(settings)
    one, other = maker(random.random, name_of), maker(random.random, name_of)
    one.offer(1)
    assert (len(one), len(other)) == (1, 0)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (
            "nowhere_at_all:Mine",
            "there is no module nowhere_at_all; it is looked for in {folder} first",
        ),
        (
            "own_policies.deep:Mine",
            "there is no module own_policies.deep; it is looked for in {folder} first",
        ),
        ("broken_policies:Mine", "can't import broken_policies: .*No module named 'nowhere'"),
        ("wrong_policies:Mine", "can't import wrong_policies: ZeroDivisionError: .*"),
        ("own_policies:Mine", "own_policies has no Mine"),
        ("own_policies:number", "must be a class, or a function that makes a policy"),
        ("own_policies:Bare", r"is no policy: it has no offer\(\) \(see balancer.Policy\)"),
        ("own_policies:Derived", r"is no policy: it has no withdraw\(\) \(see balancer.Policy\)"),
        ("own_policies:Slow", r"is no policy: its pick\(\) is async \(see balancer.Policy\)"),
        ("own_policies:Needy", "can't be made: TypeError: .*'number'"),
        ("own_policies:Leaver", "can't be made: SystemExit: 1"),
        ("own_policies:Shy", "can't be made: ValueError: don't ask"),
    ],
)
def test_what_is_none(folder: Path, policy: str, says: str) -> None:
    with pytest.raises(
        UsageError, match=f"^--policy {policy}:? {says.format(folder=folder)}$"
    ) as e:
        find_policy(Settings(policy=policy, app_dir=str(folder)))
    assert e.value.exit_code is ExitCode.USAGE
    assert "\n" not in str(e.value)


def test_the_methods_are_those_of_the_protocol() -> None:
    own = {name for name in vars(Policy) if callable(getattr(Policy, name)) and name != "__init__"}
    assert {name for name in own if not name.startswith("_") or name == "__len__"} == set(METHODS)


def test_a_program_finds_its_own_modules_first(folder: Path) -> None:
    find_policy(Settings(policy="own_policies:Last", app_dir=str(folder)), last=True)
    assert sys.path[-1] == str(folder)


def test_what_it_raises_is_logged_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(policy="own_policies:Fragile", app_dir=str(folder))
    maker = find_policy(settings)
    with caplog.at_level(logging.ERROR, "balancer"):
        for policy in (maker(random.random, name_of), maker(random.random, name_of)):
            for member in (1, 2, 3):
                policy.offer(member)
            assert [policy.pick(b"x") for _ in range(3)] == [1, 2, 3]
    one, other = caplog.messages
    text, _, traceback = one.partition("\n")
    assert text == other
    assert text == (
        "--policy own_policies:Fragile has failed, and round-robin takes its place: KeyError: b'x'"
    )
    assert traceback.startswith("Traceback")
    assert "return {}[key]" in traceback
    assert "guarded.py" not in traceback
