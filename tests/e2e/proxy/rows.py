"""The checklist, all of it."""

from __future__ import annotations

from tests.e2e.proxy import (
    rows_bodies,
    rows_connections,
    rows_errors,
    rows_fields,
    rows_heads,
    rows_interim,
)

__all__ = ["POINTS", "ROWS"]

POINTS = range(1, 38)
"""The points of the checklist."""

ROWS = sorted(
    (
        row
        for module in (
            rows_bodies,
            rows_connections,
            rows_errors,
            rows_fields,
            rows_heads,
            rows_interim,
        )
        for row in module.ROWS
    ),
    key=lambda row: row.point,
)
