"""Studies as tables in the terminal (rich), for 100 columns and for a pipe without colours.

Everything that a colour says is said by a mark as well.  Where all columns don't fit beside each
other, the table is cut into several of whole columns: no figure is ever shortened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.table import Table as Grid
from rich.text import Text

from benchmarks.report import about, units
from benchmarks.report.columns import LATENCIES, SPREAD, Column, in_use
from benchmarks.report.compare import MEASURES, Change, Comparison, Verdict, compare
from benchmarks.report.matrix import Entry, Matrix, Rank, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from benchmarks.report.figures import Figures
    from benchmarks.study.record import Study

__all__ = ["print_comparison", "print_study"]

_RANKS = {
    Rank.BEST: "bold green",
    Rank.AS_GOOD: "green",
    Rank.NEAR: "",
    Rank.BAD: "yellow",
    Rank.WORSE: "bold red",
    Rank.FAILED: "bold red reverse",
    Rank.NONE: "dim",
}
_VERDICTS = {
    Verdict.BETTER: "green",
    Verdict.WORSE: "bold red",
    Verdict.SAME: "",
    Verdict.UNKNOWN: "dim",
    Verdict.NONE: "dim",
}
_LEGEND = (
    "★ best of the workload · ≈ not surely worse · ! at least twice the best · !! ten times\n"
    "✗ more than 1 % without an answer · † measured the generator · – missing"
)
_SIGNS = "+ better · − worse, beyond the bounds · ≈ within them · ? one sample has none"


def print_study(study: Study, console: Console | None = None) -> None:
    """Write the whole study: head, p99 by load, a table of details by workload, what to know."""
    out = console or Console()
    table = Table(study)
    out.print(_head(study))
    for load in table.loads:
        out.print(_headline(table.matrix(load), out.width))
    for workload in table.workloads:
        out.print(_details(table, workload, out.width))
    if study.picks:
        out.print(_picks(study, out.width))
    out.print(_tail(study, table))


def print_comparison(old: Study, new: Study, console: Console | None = None) -> None:
    """Write what the second study has over the first, by load and measure."""
    out = console or Console()
    found = compare(old, new)
    for letter, study in (("A", old), ("B", new)):
        out.print(Text(f"{letter}: ", "bold").append_text(_head(study)))
    for load in found.loads:
        for measure in MEASURES:
            out.print(_changes(found, load, measure.name, out.width))
    if not found.changes:
        out.print("\nThe two studies have no cell in common: nothing to compare.")
    elif found.left_out:
        out.print(f"{found.left_out} cells that only one of the two has are left out.")
    if found.doubt:
        out.print(found.doubt, highlight=False)
    for letter, study in (("A", old), ("B", new)):
        for remark in about.remarks(study):
            out.print(f"{letter}: {remark}", style="yellow", highlight=False)


def _head(study: Study) -> Text:
    lines = [about.machine(study), about.when(study), about.settings(study)]
    repeat = f"repeat: {about.command(study)}"
    text = Text(about.title(study), "bold")
    return text.append("".join(f"\n{line}" for line in [*lines, repeat] if line), "not bold")


def _headline(matrix: Matrix, width: int) -> Group:
    cells = {key: _entry(entry) for key, entry in matrix.entries.items()}
    title = f"p99 at {units.load(matrix.load)} of capacity (median of the samples ± bounds)"
    marked = [entry.figures for entry in matrix.entries.values()]
    notes = [f"– {subject}: {why}" for subject, why in about.reasons(marked)]
    grids = _cut(title, matrix.subjects, matrix.workloads, cells, width)
    return Group(*grids, Text("\n".join([_LEGEND, *notes]), "dim"))


def _entry(entry: Entry) -> Text:
    if entry.p99 is None:
        return Text(units.NOTHING, _RANKS[entry.rank])
    spread = units.spread(entry.p99.spread)
    parts = [entry.rank.value, units.duration(entry.p99.middle), spread]
    if entry.figures is not None and entry.figures.saturated:
        parts.append("†")
    return Text(" ".join(part for part in parts if part), _RANKS[entry.rank])


def _changes(found: Comparison, load: float, measure: str, width: int) -> Group:
    workloads = [
        name
        for name in found.workloads
        if any((subject, name, load, measure) in found.changes for subject in found.subjects)
    ]
    cells = {
        (subject, workload): _change(found.changes.get((subject, workload, load, measure)))
        for subject in found.subjects
        for workload in workloads
    }
    title = f"{measure} at {units.load(load)} of capacity: B ÷ A"
    return Group(*_cut(title, found.subjects, workloads, cells, width), Text(_SIGNS, "dim"))


def _change(change: Change | None) -> Text:
    if change is None or change.ratio is None:
        return Text(units.NOTHING, "dim")
    text = f"{change.verdict.value} {units.ratio(change.ratio.middle)}"
    return Text(text, _VERDICTS[change.verdict])


def _grid() -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    grid.add_column("", no_wrap=True)
    return grid


def _title(text: str) -> Text:
    return Text(f"\n{text}", "bold")


def _cut(
    title: str,
    subjects: Sequence[str],
    workloads: Sequence[str],
    cells: dict[tuple[str, str], Text],
    width: int,
) -> Iterator[Text | Grid]:
    """Tables of as many columns as fit beside the subjects, until all are shown."""
    names = max(map(len, subjects), default=0)
    rest = list(workloads)
    while rest:
        shown = [rest.pop(0)]
        needs = names + 3 + _needs(shown[0], subjects, cells)
        while rest and needs + _needs(rest[0], subjects, cells) <= width:
            needs += _needs(rest[0], subjects, cells)
            shown.append(rest.pop(0))
        yield _title(title if shown[0] == workloads[0] else f"{title}, continued")
        grid = _grid()
        for workload in shown:
            grid.add_column(_folded(workload), justify="right", no_wrap=True)
        for subject in subjects:
            grid.add_row(subject, *(cells[subject, workload] for workload in shown))
        yield grid


def _folded(workload: str) -> str:
    return workload.replace("-", "-\n", 1)


def _needs(workload: str, subjects: Sequence[str], cells: dict[tuple[str, str], Text]) -> int:
    title = max(map(len, _folded(workload).splitlines()), default=0)
    return 2 + max(title, *(cells[subject, workload].cell_len for subject in subjects))


def _details(table: Table, workload: str, width: int) -> Group:
    """All figures of a workload, in several tables where one is too wide."""
    rows = table.of_workload(workload)
    cells = [cell for row in rows.values() for cell in row]
    columns = (in_use(LATENCIES, cells), in_use(SPREAD, cells))
    title = f"{workload}: {about.what(workload)}".removesuffix(": ")
    parts: Iterable[Grid] = [_detail_grid(rows, [*columns[0], *columns[1]])]
    if not all(_fits(part, width) for part in parts):
        parts = [part for group in columns for part in _detail_grids(rows, group, width)]
    return Group(_title(title), *parts, *_remarks(cells))


def _fits(grid: Grid, width: int) -> bool:
    return Console(width=1000).measure(grid).maximum <= width


def _detail_grids(
    rows: dict[float, list[Figures]], columns: list[Column], width: int
) -> Iterator[Grid]:
    """Tables of as many columns as fit; a column that is too wide by itself is folded."""
    shown: list[Column] = []
    for column in columns:
        if shown and not _fits(_detail_grid(rows, [*shown, column]), width):
            yield _detail_grid(rows, shown)
            shown = []
        shown.append(column)
    if shown:
        yield _detail_grid(rows, shown)


def _detail_grid(rows: dict[float, list[Figures]], columns: list[Column]) -> Grid:
    grid = _grid()
    for column in columns:
        left = column.title == "connections"
        folds = column.title == "errors"
        grid.add_column(column.title, justify="left" if left else "right", no_wrap=not folds)
    for load, row in rows.items():
        grid.add_row(Text(f"{units.load(load)} of capacity", "italic"))
        for cell in row:
            name = f"{cell.subject} †" if cell.saturated else cell.subject
            shown = ["not measured"] if cell.missing else [column.text(cell) for column in columns]
            grid.add_row(f" {name}", *shown, style="dim" if cell.missing else "")
    return grid


def _remarks(cells: Iterable[Figures]) -> Iterator[Text]:
    found = list(cells)
    for subject, why in about.reasons(found):
        yield Text(f"– {subject}: {why}", "dim")
    for where, why in about.failures(found):
        yield Text(f"† {where}: measured the generator, not the server: {why}", "yellow")


def _picks(study: Study, width: int) -> Group:
    sizes = sorted({members for points in study.picks.values() for members, _ in points})
    cells = {
        (name, f"{size:,}"): Text(units.duration(dict(points).get(size)))
        for name, points in study.picks.items()
        for size in sizes
    }
    title = "Cost of one pick, by the number of members"
    return Group(*_cut(title, list(study.picks), [f"{size:,}" for size in sizes], cells, width))


def _tail(study: Study, table: Table) -> Group:
    remarks = [Text(remark, "yellow") for remark in about.remarks(study)]
    rates = ", ".join(
        f"{name} {units.rate(study.capacities[name])}"
        for name in table.workloads
        if name in study.capacities
    )
    capacity = [Text(f"Capacity, requests/s: {rates}")] if rates else []
    return Group(*capacity, *remarks)
