"""Names beside the ends of lines, moved apart where the lines end together."""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from benchmarks.report.plots.style import Look

__all__ = ["label_ends", "moved_apart"]


def moved_apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near to the ``wanted`` ones as a ``gap`` between them and the bounds allow.

    In the order of ``wanted``; where the gaps need more than there is, they shrink alike.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    # Blocks of neighbours that touch, each at the mean of what its members want.
    blocks: list[list[int]] = []
    for place in order:
        blocks.append([place])
        while len(blocks) > 1 and _end(blocks[-2], wanted, gap, low, high) + gap > _start(
            blocks[-1], wanted, gap, low, high
        ):
            last = blocks.pop()
            blocks[-1] += last
    placed = [0.0] * len(wanted)
    for block in blocks:
        start = _start(block, wanted, gap, low, high)
        for offset, place in enumerate(block):
            placed[place] = start + offset * gap
    return placed


def _start(block: list[int], wanted: Sequence[float], gap: float, low: float, high: float) -> float:
    length = (len(block) - 1) * gap
    middle = sum(wanted[place] for place in block) / len(block)
    return min(max(middle - length / 2, low), high - length)


def _end(block: list[int], wanted: Sequence[float], gap: float, low: float, high: float) -> float:
    return _start(block, wanted, gap, low, high) + (len(block) - 1) * gap


def label_ends(
    axes: Axes, ends: dict[str, tuple[float, float]], looks: dict[str, Look], size: float = 7.5
) -> None:
    """Write each name right of its line's end, in its colour, with a thin line between them.

    The axes are logarithmic and have their limits and their size by now.
    """
    bottom, top = (log10(limit) for limit in axes.get_ylim())
    height = axes.get_position().height * axes.figure.get_size_inches()[1] * 72  # type: ignore[union-attr]
    shares = [(log10(y) - bottom) / (top - bottom) for _, y in ends.values()]
    places = moved_apart(shares, size * 1.25 / height, 0.01, 0.99)
    for (name, (x, y)), place in zip(ends.items(), places, strict=True):
        axes.annotate(
            name,
            xy=(x, y),
            xytext=(1.06, place),
            textcoords="axes fraction",
            fontsize=size,
            color=looks[name].colour,
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": looks[name].colour,
                "linewidth": 0.5,
                "alpha": 0.6,
                "shrinkA": 1,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
        )
