"""Latency by percentile: how far each policy's tail reaches.

The x axis is that of HdrHistogram's plots: evenly spaced in 1/(1 − p), so that each nine takes as
much room as the one before it and the tail isn't squeezed into the last pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.report import units
from benchmarks.report.figures import curve
from benchmarks.report.plots.labels import label_ends
from benchmarks.report.plots.style import (
    FAINT,
    Picture,
    draw,
    looks,
    set_ticks,
    settings,
    time_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.report.plots.style import Look
    from benchmarks.study.record import Study

__all__ = ["curves"]

_TICKS = {2: "50 %", 10: "90 %", 100: "99 %", 1e3: "99.9 %", 1e4: "99.99 %", 1e5: "99.999 %"}
_MARKS = (2.0, 10.0, 100.0, 1e3, 1e4)

Lines = dict[str, list[tuple[float, float]]]


def curves(study: Study, workload: str) -> Picture | None:
    """A panel per load with a line per subject; None where nothing was answered."""
    panels = _lines(study, workload)
    if not panels:
        return None
    look = looks(list(dict.fromkeys(cell.subject for cell in study.cells)))
    times = [y for lines in panels.values() for line in lines.values() for _, y in line]
    furthest = max(x for lines in panels.values() for line in lines.values() for x, _ in line)
    width = 3.75 * len(panels) + 0.9 if len(panels) > 1 else 7.5
    height = 4.2
    with settings():
        figure = draw(width, height)
        # Room for the labels at the right of every panel: what stands outside is not arranged.
        figure.set_layout_engine("none")
        left, each = 0.85 / width, (width - 0.85) / len(panels) / width
        for place, (load, lines) in enumerate(panels.items()):
            inner = each - 1.45 / width
            axes = figure.add_axes((left + place * each, 0.56 / height, inner, 1 - 0.95 / height))
            time_axis(axes, min(times), max(times))
            _panel(axes, lines, look, furthest)
            axes.set_title(f"{workload}, {units.load(load)} of capacity")
            if not place:
                axes.set_ylabel("latency (log)")
            else:
                axes.set_yticklabels([])
    named = ", ".join(units.load(load) for load in panels)
    alt = f"Latency by percentile under {workload} at {named} of capacity, a line per subject."
    return Picture(f"curves-{workload}", alt, figure)


def _lines(study: Study, workload: str) -> dict[float, Lines]:
    panels: dict[float, Lines] = {}
    for cell in study.cells:
        if cell.workload == workload and (line := curve(cell)):
            panels.setdefault(cell.load, {})[cell.subject] = line
    return dict(sorted(panels.items()))


def _panel(axes: Axes, lines: Lines, look: dict[str, Look], furthest: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(1, furthest * 1.05)
    ticks = {at: name for at, name in _TICKS.items() if at <= furthest * 1.05}
    set_ticks(axes.xaxis, list(ticks), list(ticks.values()))
    axes.set_xlabel("percentile (log of 1 ÷ (1 − p))")
    axes.grid(visible=True, axis="x", color=FAINT, linewidth=0.7)
    for name, line in lines.items():
        style = look[name]
        xs, ys = [x for x, _ in line], [y for _, y in line]
        marked = sorted({min(range(len(xs)), key=lambda i: abs(xs[i] - at)) for at in _MARKS})
        axes.plot(
            xs,
            ys,
            color=style.colour,
            linestyle=style.line,
            linewidth=1.4,
            marker=style.marker,
            markersize=4,
            markevery=marked,
            label=name,
        )
    label_ends(axes, {name: line[-1] for name, line in lines.items()}, look)
