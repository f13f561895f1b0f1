"""Who got how much: connections and requests by worker, a panel per subject."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from benchmarks.report import units
from benchmarks.report.columns import groups
from benchmarks.report.matrix import Table, usual_load
from benchmarks.report.plots.style import GREY, Picture, draw, set_ticks, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from benchmarks.report.figures import Figures
    from benchmarks.study.record import Study

__all__ = ["MOST_BARS", "workers"]

MOST_BARS = 32
_COLUMNS = 5
_CONNECTIONS, _REQUESTS = "#56b4e9", "#000000"


def workers(study: Study, workload: str) -> Picture | None:
    """Times the fair share by worker, most first, at one load; None where nobody counted."""
    table = Table(study)
    loads = [load for load in table.loads if table.of_workload(workload).get(load)]
    load = usual_load(loads)
    rows = [] if load is None else table.of_workload(workload)[load]
    cells = [cell for cell in rows if any(cell.connections) or any(cell.requests)]
    if not cells or load is None:
        return None
    columns = min(_COLUMNS, len(cells))
    lines = ceil(len(cells) / columns)
    top = max(max(_shares(cell.connections) + _shares(cell.requests)) for cell in cells) * 1.05
    with settings():
        figure = draw(max(2.15 * columns + 0.4, 6.5), 1.65 * lines + 1.1)
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flatten()
        for axes, cell in zip(panels, cells, strict=False):
            _panel(axes, cell, max(top, 1.3))
        for axes in panels[len(cells) :]:
            axes.set_axis_off()
        figure.suptitle(
            f"{workload}, {units.load(load)} of capacity: what each worker got", x=0.01, ha="left",
            fontsize=10, weight="bold",
        )  # fmt: skip
        size = max(len(cell.connections) for cell in cells)
        grouped = f" ({size:,} in {MOST_BARS} groups, each at its mean)"
        figure.supxlabel(
            f"workers, most connections first{grouped if size > MOST_BARS else ''}\n"
            "bar: new connections · dot: requests · dashed: a fair share",
            fontsize=8, color=GREY,
        )  # fmt: skip
        figure.supylabel("times the fair share", fontsize=9, color="#333333")
    alt = (
        f"Connections and requests by worker under {workload} at {units.load(load)} of capacity, "
        "a panel per subject."
    )
    return Picture(f"workers-{workload}", alt, figure)


def _shares(counts: Sequence[float]) -> list[float]:
    """Each over the mean; more than ``MOST_BARS`` are summed up in groups of neighbours."""
    total = sum(counts)
    if not total:
        return [0.0]
    mean = total / len(counts)
    return [sum(group) / len(group) / mean for group in groups(counts, MOST_BARS)]


def _panel(axes: Axes, cell: Figures, top: float) -> None:
    bars, dots = _shares(cell.connections), _shares(cell.requests)
    axes.bar(range(len(bars)), bars, width=0.78, color=_CONNECTIONS, label="connections")
    size = 3.2 if len(dots) < 9 else 2
    axes.plot(range(len(dots)), dots, "o", markersize=size, color=_REQUESTS, label="requests")
    axes.axhline(1, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.set_ylim(0, top)
    axes.set_title(cell.subject, fontsize=8.5, pad=3)
    axes.set_xlim(-0.7, max(len(bars), len(dots)) - 0.3)
    counted = len(cell.connections)
    if counted <= 8:
        set_ticks(axes.xaxis, range(counted), [str(rank + 1) for rank in range(counted)])
    else:
        set_ticks(axes.xaxis, [0, len(bars) - 1], ["1", f"{counted:,}"])
    axes.tick_params(labelsize=7, length=2)
