"""``--policy`` and the workers' weights: what they mean, and what contradicts what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import UsageError
from balancer.settings.load import flag_given, load
from balancer.settings.policy import (
    WEIGHED,
    WORKER_NAMES,
    OwnPolicy,
    check_worker_policy,
    parse_own,
)

if TYPE_CHECKING:
    from pathlib import Path

    from balancer.settings.origin import Given


def policy(name: str) -> Given:
    return flag_given("policy", "--policy", name, name)


def weights(text: str) -> Given:
    return flag_given("worker_weights", "--worker-weights", text, text)


@pytest.mark.parametrize("name", WORKER_NAMES)
def test_ours_are_no_users_own(name: str) -> None:
    assert check_worker_policy(name) == name
    assert parse_own(name) is None


def test_a_users_own() -> None:
    assert check_worker_policy("site.policies:Mine.nested") == "site.policies:Mine.nested"
    assert parse_own("site.policies:Mine.nested") == OwnPolicy("site.policies", "Mine.nested")


@given(st.text() | st.builds("{}:{}".format, st.text(), st.text()))
def test_anything_is_good_or_one_sentence(text: str) -> None:
    try:
        check_worker_policy(text)
    except ValueError as error:
        told = str(error)
    else:
        told = ""
        assert text in WORKER_NAMES or parse_own(text) is not None
    assert "\n" not in told


@pytest.mark.parametrize("name", [*sorted(WEIGHED), "mine:Mine"])
def test_weights_with_a_policy_that_goes_by_them(name: str) -> None:
    assert load([policy(name), weights("3,1")]).worker_weights == (3, 1)


@pytest.mark.parametrize("name", sorted({*WORKER_NAMES} - WEIGHED))
def test_weights_that_would_mean_nothing(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        load([policy(name), weights("3,1")])
    assert str(caught.value) == (
        f"--worker-weights 3,1: has no effect with --policy {name}; "
        "those that go by weight are least-connections, p2c, random, source-hash, weighted"
    )
    load([policy(name), weights("1,1")])


def test_a_list_of_numbers_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text('policy = "weighted"\nworker_weights = [3, 1]\n')
    assert load(file=str(file)).worker_weights == (3, 1)
    file.write_text('policy = "weighted"\nworker_weights = [3, 0.5]\n')
    with pytest.raises(UsageError, match="must be a number or a list of them"):
        load(file=str(file))
