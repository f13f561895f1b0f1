"""Two studies: what the second has over the first, cell by cell."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from benchmarks.report import units
from benchmarks.report.compare import MEASURES, Verdict
from benchmarks.report.plots.heatmap import grid, luminance
from benchmarks.report.plots.style import BETTER, GREY, WORSE, Picture, draw, settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.report.compare import Change, Comparison

__all__ = ["comparison"]

_FURTHEST = 4.0
"""Times better or worse: as saturated as the colours get."""


def comparison(found: Comparison, load: float) -> Picture:
    """A panel per measure: blue is better, orange worse, grey within the bounds."""
    with settings():
        width = 2.0 + 1.0 * len(found.workloads)
        height = 1.15 + 0.34 * len(found.subjects)
        figure = draw(max(width, 6.4), height * len(MEASURES) + 0.5)
        panels = figure.subplots(len(MEASURES), 1, squeeze=False).flatten()
        for axes, measure in zip(panels, MEASURES, strict=True):
            grid(axes, found.subjects, found.workloads)
            for row, subject in enumerate(found.subjects):
                for column, workload in enumerate(found.workloads):
                    key = (subject, workload, load, measure.name)
                    _cell(axes, (column, row), found.changes.get(key))
            better = "more is better" if measure.more_is_better else "less is better"
            axes.set_title(
                f"{measure.name} at {units.load(load)} of capacity: B ÷ A ({better})", pad=8
            )
        panels[-1].set_xlabel(
            "blue, +: better · orange, −: worse, beyond the bounds of both · grey, ≈: within them"
            " · ?: one sample has no bounds",
            fontsize=7.5, color=GREY, labelpad=8, loc="left",
        )  # fmt: skip
    alt = (
        f"Ratios of the second study to the first at {units.load(load)} of capacity, subjects by "
        "workloads, for p50, p99 and throughput; the tables have the same figures."
    )
    return Picture(f"comparison-{round(load * 100)}", alt, figure)


def _cell(axes: Axes, where: tuple[int, int], change: Change | None) -> None:
    corner = (where[0] - 0.48, where[1] - 0.46)
    if change is None or change.ratio is None:
        box = Rectangle(corner, 0.96, 0.92, facecolor="#f2f2f2", edgecolor="#bbbbbb", hatch="////")
        box.set_linewidth(0.6)
        axes.add_patch(box)
        return
    colour = _colour(change)
    axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=colour, edgecolor="none"))
    ink = "#ffffff" if luminance(colour) < 0.3 else "#111111"
    sure = change.verdict in {Verdict.BETTER, Verdict.WORSE}
    text = f"{change.verdict.value} {units.ratio(change.ratio.middle)}"
    axes.text(
        *where, text, ha="center", va="center", fontsize=8.5, color=ink,
        weight="bold" if sure else "normal",
    )  # fmt: skip


def _colour(change: Change) -> tuple[float, float, float]:
    if change.ratio is None or change.verdict not in {Verdict.BETTER, Verdict.WORSE}:
        return (0.93, 0.93, 0.93)
    times = change.ratio.middle
    far = 1.0 if times <= 0 else min(1.0, abs(log(times)) / log(_FURTHEST))
    strength = 0.25 + 0.75 * far
    base = to_rgb(BETTER if change.verdict is Verdict.BETTER else WORSE)
    red, green, blue = (1 - strength * (1 - part) for part in base)
    return (red, green, blue)
