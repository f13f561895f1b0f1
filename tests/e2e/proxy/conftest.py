"""One server of each kind for all tests of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.proxy.doors import Stage, open_door
from tests.e2e.proxy.talk import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """A front door by its name, and the upstream behind it."""
    name: str = request.param
    with (
        Upstream() as upstream,
        open_door(name, upstream.port, tmp_path_factory.mktemp(name)) as door,
    ):
        if door is None:
            pytest.skip(f"{name} is not installed, or is not Debian 12's")
        yield Stage(door, upstream)
