"""A study, or two, as one page that needs nothing from elsewhere: no script, font or picture.

Plots are inline SVG.  What a colour says is said by a mark or a figure too, and every plot has its
figures in a table that can be folded out.  Jinja fills in the page: it escapes whatever a name or
an error message contains.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.report import about, units
from benchmarks.report.columns import LATENCIES, SPREAD, in_use
from benchmarks.report.compare import MEASURES, compare
from benchmarks.report.matrix import Table
from benchmarks.report.plots.comparison import comparison
from benchmarks.report.plots.curves import curves
from benchmarks.report.plots.heatmap import heatmap
from benchmarks.report.plots.picks import picks
from benchmarks.report.plots.workers import workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.report.compare import Comparison
    from benchmarks.report.figures import Figures
    from benchmarks.report.matrix import Entry, Matrix
    from benchmarks.report.plots.style import Picture
    from benchmarks.study.record import Study

__all__ = ["render_html"]


@final
@dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    kind: str = ""
    span: int = 1


@final
@dataclass(frozen=True, slots=True)
class _Head:
    title: str
    what: str = ""
    left: bool = False


@final
@dataclass(frozen=True, slots=True)
class _Row:
    cells: list[_Cell]
    kind: str = ""


@final
@dataclass(frozen=True, slots=True)
class _Grid:
    title: str
    heads: list[_Head]
    rows: list[_Row]
    folded: bool = False


@final
@dataclass(frozen=True, slots=True)
class _Part:
    """A heading and what is below it."""

    title: str
    what: str = ""
    anchor: str = ""
    pictures: list[Picture] = field(default_factory=list)
    tables: list[_Grid] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@final
@dataclass(frozen=True, slots=True)
class _About:
    """What is said of a study at the top and at the bottom."""

    letter: str
    title: str
    machine: str
    when: str
    settings: str
    command: str
    remarks: list[str]
    found: list[tuple[str, str]]


def render_html(study: Study, other: Study | None = None) -> str:
    """The page of a study; of what the ``other`` has over it, where there is one."""
    if other is None:
        title, parts = about.title(study), list(_parts(study))
        heads = [_about("", study)]
    else:
        title, parts = "Two studies: B over A", list(_compared(study, other))
        heads = [_about("A", study), _about("B", other)]
    names = [{"name": part.anchor} for part in parts if part.anchor]
    loader = FileSystemLoader(Path(__file__).parent)
    jinja = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page = jinja.get_template("page.html.j2")
    return page.render(title=title, studies=heads, parts=parts, workloads=names)


def _about(letter: str, study: Study) -> _About:
    return _About(
        letter,
        about.title(study),
        about.machine(study),
        about.when(study),
        about.settings(study),
        about.command(study),
        about.remarks(study),
        [(name, str(value)) for name, value in study.machine.items()],
    )


def _parts(study: Study) -> Iterator[_Part]:
    table = Table(study)
    for load in table.loads:
        yield _headline(study, table.matrix(load))
    for workload in table.workloads:
        yield _workload(study, table, workload)
    if study.picks:
        yield _picks(study)
    capacities = [
        _Row([_Cell(name), _Cell(units.rate(study.capacities[name]))])
        for name in table.workloads
        if name in study.capacities
    ]
    if capacities:
        heads = [_Head("workload"), _Head("requests/s")]
        what = "What the loads are shares of: the workers at full speed, nothing going wrong."
        yield _Part("Capacity", what, tables=[_Grid("", heads, capacities)])


def _headline(study: Study, matrix: Matrix) -> _Part:
    title = f"p99 at {units.load(matrix.load)} of capacity"
    picture = heatmap(study, matrix.load)
    heads = [_Head(""), *(_Head(name, about.what(name)) for name in matrix.workloads)]
    rows = [
        _Row(
            [_Cell(subject)]
            + [_entry(matrix.entries[subject, name]) for name in matrix.workloads]
        )
        for subject in matrix.subjects
    ]  # fmt: skip
    marked = [entry.figures for entry in matrix.entries.values()]
    return _Part(
        title,
        "99 in 100 requests were answered within this time, from when they were due to the last "
        "byte: the median of the samples, and how far the bounds of that median reach.",
        pictures=[picture] if picture is not None else [],
        tables=[_Grid("the same as a table", heads, rows, folded=True)],
        notes=[f"– {subject}: {why}" for subject, why in about.reasons(marked)],
    )


def _entry(entry: Entry) -> _Cell:
    kind = entry.rank.name.lower()
    if entry.p99 is None:
        return _Cell(units.NOTHING, kind)
    parts = [entry.rank.value, units.duration(entry.p99.middle), units.spread(entry.p99.spread)]
    if entry.figures is not None and entry.figures.saturated:
        parts.append("†")
    return _Cell(" ".join(part for part in parts if part), kind)


def _workload(study: Study, table: Table, workload: str) -> _Part:
    rows = table.of_workload(workload)
    cells = [cell for row in rows.values() for cell in row]
    columns = in_use([*LATENCIES, *SPREAD], cells)
    heads = [_Head("")] + [
        _Head(column.title, column.what, left=column.title == "connections") for column in columns
    ]
    lines: list[_Row] = []
    for load, row in rows.items():
        lines.append(_Row([_Cell(f"{units.load(load)} of capacity", span=len(heads))], "load"))
        for cell in row:
            name = f"{cell.subject} †" if cell.saturated else cell.subject
            if cell.missing:
                missing = _Cell(cell.missing.splitlines()[0], "left", len(columns))
                lines.append(_Row([_Cell(name), missing], "missing"))
            else:
                figures = [
                    _Cell(column.text(cell), "left" if column.title == "connections" else "")
                    for column in columns
                ]
                lines.append(_Row([_Cell(name), *figures]))
    pictures = [curves(study, workload), workers(study, workload)]
    return _Part(
        workload,
        about.what(workload),
        workload,
        [picture for picture in pictures if picture is not None],
        [_Grid("all figures", heads, lines, folded=True)],
        _remarks(cells),
    )


def _remarks(cells: list[Figures]) -> list[str]:
    return [
        f"† {where}: measured the generator, not the server: {why}"
        for where, why in about.failures(cells)
    ]


def _picks(study: Study) -> _Part:
    sizes = sorted({members for points in study.picks.values() for members, _ in points})
    heads = [_Head("members"), *(_Head(f"{size:,}") for size in sizes)]
    rows = [
        _Row([_Cell(name), *(_Cell(units.duration(dict(points).get(size))) for size in sizes)])
        for name, points in study.picks.items()
    ]
    picture = picks(study)
    return _Part(
        "Cost of one pick",
        "A pick and the offer after it, with so many members to pick from.",
        pictures=[picture] if picture is not None else [],
        tables=[_Grid("the same as a table", heads, rows, folded=True)],
    )


def _compared(old: Study, new: Study) -> Iterator[_Part]:
    found = compare(old, new)
    for load in found.loads:
        yield _Part(
            f"At {units.load(load)} of capacity",
            pictures=[comparison(found, load)],
            tables=[_ratios(found, load, measure.name) for measure in MEASURES],
        )
    notes = [found.doubt] if found.doubt else []
    if not found.changes:
        notes.append("The two studies have no cell in common: nothing to compare.")
    elif found.left_out:
        notes.append(f"{found.left_out} cells that only one of the two has are left out.")
    if notes:
        yield _Part("To know", notes=notes)


def _ratios(found: Comparison, load: float, measure: str) -> _Grid:
    heads = [_Head(""), *(_Head(name, about.what(name)) for name in found.workloads)]
    rows = []
    for subject in found.subjects:
        cells = [_Cell(subject)]
        for workload in found.workloads:
            change = found.changes.get((subject, workload, load, measure))
            if change is None or change.ratio is None:
                cells.append(_Cell(units.NOTHING, "none"))
            else:
                text = f"{change.verdict.value} {units.ratio(change.ratio.middle)}"
                cells.append(_Cell(text))
        rows.append(_Row(cells))
    return _Grid(f"{measure}: B ÷ A", heads, rows, folded=True)
