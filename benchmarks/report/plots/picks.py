"""What one pick costs as there are more to pick from."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from benchmarks.study.record import Study

__all__ = ["picks"]


def picks(study: Study) -> Picture | None:
    """Both axes are logarithmic: flat is O(1), a slope of one is O(n).  None without picks."""
    lines = {name: sorted(points) for name, points in study.picks.items() if points}
    times = [seconds for line in lines.values() for _, seconds in line if seconds > 0]
    if not times:
        return None
    sizes = sorted({members for line in lines.values() for members, _ in line})
    look = looks(list(lines))
    with settings():
        figure = draw(8.2, 4.4)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0.1, 0.13, 0.68, 0.77))
        time_axis(axes, min(times), max(times))
        axes.set_xscale("log")
        axes.set_xlim(sizes[0] / 1.2, sizes[-1] * 1.2)
        for name, line in lines.items():
            style = look[name]
            axes.plot(
                [members for members, _ in line], [seconds for _, seconds in line],
                color=style.colour, linestyle=style.line, marker=style.marker, markersize=4.5,
                linewidth=1.4, label=name,
            )  # fmt: skip
        axes.grid(visible=True, axis="x", color=FAINT, linewidth=0.7)
        shown = _spaced(sizes)
        set_ticks(axes.xaxis, shown, [f"{size:,}" for size in shown])
        axes.set_xlabel("members to pick from (log)")
        axes.set_ylabel("time of one pick (log)")
        axes.set_title("Cost of one pick")
        label_ends(axes, {name: line[-1] for name, line in lines.items()}, look, 8)
    alt = "Time of one pick against the number of members, a line per policy."
    return Picture("picks", alt, figure)


def _spaced(sizes: list[int]) -> list[int]:
    """Sizes at least 1.8 times apart: nearer ones would be written over each other."""
    shown: list[int] = []
    for size in sizes:
        if not shown or size >= shown[-1] * 1.8:
            shown.append(size)
    return shown
