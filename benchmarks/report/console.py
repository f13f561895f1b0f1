"""The terminal, or what stands in for it."""

from __future__ import annotations

from rich.console import Console

__all__ = ["PIPED", "console"]

PIPED = 100
"""Columns where the output isn't a terminal: rich would take it for one of 80, and cut figures."""


def console(width: int | None = None) -> Console:
    """Standard output, so many columns wide; None: as wide as it is."""
    out = Console(width=width, highlight=False)
    if width is None and not out.is_terminal:
        return Console(width=PIPED, highlight=False)
    return out
