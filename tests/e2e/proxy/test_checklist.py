"""The 37 points of the checklist, each by one row or more, through real processes.

The peers get the same rows.  Where they do otherwise it is written down in ``differences``, with
what they do and why we don't; that must be true, too, or the list would rot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.proxy.differences import DIFFERENCES
from tests.e2e.proxy.doors import DOORS
from tests.e2e.proxy.message import Mismatch
from tests.e2e.proxy.rows import POINTS, ROWS
from tests.e2e.proxy.steps import run
from tests.e2e.proxy.talk import DEADLINE

if TYPE_CHECKING:
    from tests.e2e.proxy.doors import Stage
    from tests.e2e.proxy.steps import Row

IN_VAIN = 0.1
"""Seconds of waiting for what a peer is known not to do."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
@pytest.mark.parametrize("stage", DOORS[:1], indirect=True, scope="package")
def test_ours(stage: Stage, row: Row) -> None:
    run(row, stage.door, stage.upstream)


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point:02}")
@pytest.mark.parametrize("stage", DOORS[1:], indirect=True, scope="package")
def test_peer(stage: Stage, point: int) -> None:
    surprises = {row.id: _surprise(stage, row) for row in ROWS if row.point == point}
    assert not any(surprises.values()), surprises


def _surprise(stage: Stage, row: Row) -> str | None:
    """What a peer does, if it isn't what we know of it."""
    known = DIFFERENCES[stage.door.name].get(row.id)
    in_vain = known is not None and known.seen.startswith("nothing")
    try:
        run(row, stage.door, stage.upstream, patience=IN_VAIN if in_vain else DEADLINE)
    except Mismatch as found:
        return None if known is not None and str(found).startswith(known.seen) else str(found)
    return None if known is None else f"as ours, and not {known.seen}"


def test_every_point_has_a_row() -> None:
    assert {row.point for row in ROWS} == set(POINTS)
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_every_difference_is_a_rows() -> None:
    for door, differences in DIFFERENCES.items():
        assert door in DOORS[1:]
        assert differences.keys() <= {row.id for row in ROWS}
