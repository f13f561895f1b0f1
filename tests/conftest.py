"""What all tests share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Generator

# A shared machine stalls now and then; how long an example takes says nothing about the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

TURNS = pytest.StashKey[Turns]()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        # One of several processes (`pytest -n 3`): they have one folder in that of the whole run.
        config.stash[TURNS] = Turns(Path(config.getoption("basetemp")).parent)
    elif config.getoption("dist", "no") == "load":
        # Long tests are neighbours: dealt out in chunks, they are all left to one process.
        config.option.dist = "worksteal"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test, from its fixtures' setup to their end, when it is its turn."""
    turns = item.config.stash.get(TURNS, None)
    if turns is None:
        return (yield)
    with turns.take(alone=item.get_closest_marker("alone") is not None):
        return (yield)
