"""Subjects × workloads, a colour and a figure in each cell: the picture of the headline."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle

from benchmarks.report import units
from benchmarks.report.matrix import Rank, Table, usual_load
from benchmarks.report.plots.style import GREY, Picture, draw, set_ticks, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from benchmarks.report.matrix import Entry, Matrix
    from benchmarks.study.record import Study

__all__ = ["grid", "heatmap", "luminance"]

_FURTHEST = 50.0
"""Times the best one: the darkest there is."""
_NORM = LogNorm(1.0, _FURTHEST)
_BAR = (1, 2, 5, 10, 20, 50)
_COLOURS = "YlOrBr"
"""ColorBrewer's: its lightness falls evenly, which every eye sees."""


def heatmap(study: Study, load: float | None = None) -> Picture | None:
    """p99 at one load, coloured by how many times the column's best it is; None without cells."""
    table = Table(study)
    shown = usual_load(table.loads) if load is None else load
    if shown is None:
        return None
    matrix = table.matrix(shown)
    with settings():
        width = 2.6 + 1.05 * len(matrix.workloads)
        figure = draw(max(width, 7.2), 1.8 + 0.46 * len(matrix.subjects))
        axes = figure.add_subplot()
        grid(axes, matrix.subjects, matrix.workloads)
        for (subject, workload), entry in matrix.entries.items():
            where = matrix.workloads.index(workload), matrix.subjects.index(subject)
            _cell(axes, where, entry)
        figure.suptitle(
            f"p99 latency at {units.load(shown)} of capacity, and times the best of the workload",
            x=0.01, ha="left", fontsize=10.5, weight="bold",
        )  # fmt: skip
        axes.set_xlabel(_legend(matrix), fontsize=7.5, color=GREY, labelpad=8, loc="left")
        _bar(axes)
    alt = (
        f"Heatmap of the p99 latency at {units.load(shown)} of capacity, subjects by workloads; "
        "the table has the same figures."
    )
    return Picture(f"heatmap-{round(shown * 100)}", alt, figure)


def grid(axes: Axes, subjects: Sequence[str], workloads: Sequence[str]) -> None:
    """Empty axes with a row per subject, from the top, and a column per workload."""
    axes.set_xlim(-0.5, len(workloads) - 0.5)
    axes.set_ylim(len(subjects) - 0.5, -0.5)
    names = [workload.replace("-", "-\n", 1) for workload in workloads]
    set_ticks(axes.xaxis, range(len(workloads)), names)
    set_ticks(axes.yaxis, range(len(subjects)), list(subjects))
    axes.tick_params(length=0, labelsize=8.5, labelcolor="#222222", top=True, labeltop=True)
    axes.tick_params(bottom=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _legend(matrix: Matrix) -> str:
    marks = {
        "★ best": any(entry.rank is Rank.BEST for entry in matrix.entries.values()),
        "≈ not surely worse": any(entry.rank is Rank.AS_GOOD for entry in matrix.entries.values()),
        "✗ over 1 % unanswered": any(e.rank is Rank.FAILED for e in matrix.entries.values()),
        "† measured the generator": any(
            entry.figures is not None and entry.figures.saturated
            for entry in matrix.entries.values()
        ),
        "hatched: missing": any(entry.rank is Rank.NONE for entry in matrix.entries.values()),
    }
    return " · ".join(text for text, there in marks.items() if there)


def _cell(axes: Axes, where: tuple[int, int], entry: Entry) -> None:
    corner = (where[0] - 0.48, where[1] - 0.47)
    if entry.rank in {Rank.NONE, Rank.FAILED}:
        box = Rectangle(corner, 0.96, 0.94, facecolor="#f2f2f2", edgecolor="#bbbbbb", linewidth=0.6)
        if entry.rank is Rank.NONE:
            box.set_hatch("////")
        axes.add_patch(box)
        if entry.rank is Rank.FAILED:
            p99 = entry.p99.middle if entry.p99 is not None else None
            _write(axes, where, units.duration(p99), "✗", "#444444")
        return
    times = min(max(entry.times or 1.0, 1.0), _FURTHEST)
    colour = colormaps[_COLOURS](log(times) / log(_FURTHEST))
    axes.add_patch(Rectangle(corner, 0.96, 0.94, facecolor=colour, edgecolor="none"))
    ink = "#ffffff" if luminance(colour) < 0.3 else "#111111"
    best = entry.rank is Rank.BEST
    saturated = entry.figures is not None and entry.figures.saturated
    below = "★ best" if best else f"× {units.factor(entry.times)}"
    if entry.rank is Rank.AS_GOOD:
        below = f"≈ {below}"
    below += " †" if saturated else ""
    _write(axes, where, units.duration(entry.p99 and entry.p99.middle), below, ink, bold=best)


def _write(
    axes: Axes, where: tuple[int, int], figure: str, below: str, ink: str, *, bold: bool = False
) -> None:
    weight = "bold" if bold else "normal"
    x, y = where
    axes.text(x, y - 0.16, figure, ha="center", va="center", color=ink, fontsize=9, weight=weight)
    axes.text(x, y + 0.23, below, ha="center", va="center", color=ink, fontsize=7)


def luminance(colour: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour, 0 to 1 (WCAG 2.2): what text must contrast with."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _bar(axes: Axes) -> None:
    colours = ScalarMappable(_NORM, colormaps[_COLOURS])
    figure = axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(colours, ax=axes, fraction=0.025, pad=0.015, aspect=30)
    bar.set_label("p99 ÷ best of the workload (log)")
    set_ticks(bar.ax.yaxis, _BAR, [f"× {times}" for times in _BAR])
    bar.ax.tick_params(labelsize=7.5, length=2)
