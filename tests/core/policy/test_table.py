"""Every policy is documented wherever a user or a reader looks for it."""

from __future__ import annotations

import inspect
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from balancer.core.policy import KERNEL_POLICIES, POLICIES, TABLE, UPSTREAM_POLICIES
from balancer.core.policy.table import Row, Use
from balancer.settings.policy import NAMES, WEIGHED, WORKER_NAMES
from balancer.settings.table import SETTINGS
from tests.core.policy.makers import ALL, WORKERS, name_of, pick

if TYPE_CHECKING:
    from types import ModuleType

PARTS = ("Algorithm: ", "Cost: ", "Right ", "Wrong ", "Source: ")


def module_of(row: Row) -> ModuleType:
    return sys.modules[type(row.make(random.random, name_of)).__module__]


def test_no_name_stands_twice() -> None:
    for use in Use:
        names = [row.name for row in TABLE if use in row.use]
        assert len(names) == len(set(names))
    assert len(ALL) == len(TABLE)


def test_the_settings_have_the_same_names() -> None:
    assert set(WORKER_NAMES) == POLICIES.keys() | KERNEL_POLICIES
    assert set(UPSTREAM_POLICIES) == NAMES


def test_the_kernels_policies_have_no_algorithm_here() -> None:
    assert not KERNEL_POLICIES & POLICIES.keys()


@pytest.mark.parametrize("row", TABLE, ids=ALL)
def test_its_module_says_what_it_does_and_when_it_is_right(row: Row) -> None:
    text = " ".join((inspect.getdoc(module_of(row)) or "").split())
    for part in PARTS:
        assert part in text, f"{module_of(row).__name__} doesn't say: {part}"
    assert "Cost: O(" in text


@pytest.mark.parametrize("row", TABLE, ids=ALL)
def test_the_help_names_it(row: Row) -> None:
    for use, setting in ((Use.WORKERS, "policy"), (Use.UPSTREAMS, "upstream_policy")):
        assert use not in row.use or row.name in SETTINGS[setting].help


@pytest.mark.parametrize("name", WORKERS)
def test_weights_mean_something_where_the_settings_say_so(name: str) -> None:
    policy, weights, counts = WORKERS[name](), {1: 9, 2: 1}, Counter[int]()
    loads = dict.fromkeys(weights, 0)
    for number in range(400):
        for member, weight in weights.items():
            policy.offer(member, loads[member], weight)
        member = pick(policy, b"client %d" % number)
        counts[member] += 1
        loads[member] += 1
    # ``first`` gives one of them everything, whatever the weights
    assert (320 < counts[1] < 400) == (name in WEIGHED)
