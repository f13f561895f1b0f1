"""The upstream never sees a request that the client did not send as one.

Ambiguous requests (``cells``), each with another one hidden in it, over HTTP/1.0 and 1.1.  What the
upstream gets must be what the cell says, must be readable in one way only, and the next client must
find its own answer.  What nginx and HAProxy make of the same is in ``cell_differences``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.proxy.cell_differences import CELL_DIFFERENCES, UNSTABLE
from tests.e2e.proxy.cells import CELLS, GROUPS
from tests.e2e.proxy.doors import DOORS
from tests.e2e.proxy.outcomes import check_unambiguous, outcome, probe
from tests.e2e.proxy.talk import DEADLINE

if TYPE_CHECKING:
    from tests.e2e.proxy.cells import Cell
    from tests.e2e.proxy.doors import Stage

IN_VAIN = 0.1
"""Seconds of waiting for what a peer does not do."""


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
@pytest.mark.parametrize("stage", DOORS[:1], indirect=True, scope="package")
def test_ours(stage: Stage, cell: Cell) -> None:
    assert outcome(stage, cell) == cell.outcome
    check_unambiguous(stage)
    probe(stage)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("stage", DOORS[1:], indirect=True, scope="package")
def test_peer(stage: Stage, group: str) -> None:
    known = CELL_DIFFERENCES[stage.door.name]
    found, expected = {}, {}
    for cell in CELLS:
        if cell.group == group and cell.id not in UNSTABLE.get(stage.door.name, ()):
            expected[cell.id] = known[cell.id][0] if cell.id in known else cell.outcome
            patience = IN_VAIN if "waits" in expected[cell.id] else DEADLINE
            found[cell.id] = outcome(stage, cell, patience=patience)
    assert found == expected


def test_the_matrix_is_large_enough() -> None:
    assert len(CELLS) >= 100
    assert len({cell.id for cell in CELLS}) == len(CELLS)
