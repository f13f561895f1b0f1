"""``python -m benchmarks report A.json [B.json]``: show a study, or what B has over A."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report.compare import compare
from benchmarks.report.console import PIPED, console
from benchmarks.report.html import render_html
from benchmarks.report.matrix import usual_load
from benchmarks.report.plots.comparison import comparison
from benchmarks.report.plots.heatmap import heatmap
from benchmarks.report.plots.picks import picks
from benchmarks.report.tables import print_comparison, print_study
from benchmarks.study.record import RecordError, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from benchmarks.report.plots.style import Picture
    from benchmarks.study.record import Study

__all__ = ["main"]

_SUFFIXES = {".svg", ".png"}
_SUFFIX = "must end in .svg or .png"

_NARROWEST = 60
"""Columns that a subject and one figure need."""


def main(arguments: Sequence[str]) -> int:
    """Exit codes: 0, 1 when a file can't be written, 2 for a mistake in the arguments."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    try:
        studies = [load(path) for path in parsed.studies]
    except RecordError as error:
        print(error, file=sys.stderr)
        return 2
    if len(studies) > 2:
        parser.error("one study is shown or two are compared; more can't be")
    study, other = studies[0], studies[1] if len(studies) > 1 else None
    picture = None
    if parsed.picture is not None:
        picture, why = _picture(study, parsed) if other is None else _compared(study, other, parsed)
        if picture is None:
            print(f"--picture {parsed.picture}: {why}", file=sys.stderr)
            return 2
    _show(study, other, console(parsed.width))
    try:
        if parsed.html is not None:
            parsed.html.write_text(render_html(study, other), encoding="utf-8")
        if picture is not None:
            parsed.picture.write_bytes(_drawn(picture, parsed.picture))
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks report", description=__doc__)
    parser.add_argument("studies", nargs="+", type=Path, metavar="FILE", help="from --json")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots there")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="write one plot there: .svg or .png; of two studies: B over A",
    )
    parser.add_argument(
        "--of",
        choices=("heatmap", "picks"),
        default="heatmap",
        help="which plot: subjects by workloads (the default), or the cost of a pick",
    )
    parser.add_argument(
        "--load", type=_per_cent, metavar="PERCENT", help="of the heatmap; default: that nearest 70"
    )
    parser.add_argument(
        "--width",
        type=_width,
        help=f"of the tables, in columns; default: the terminal's, {PIPED} in a pipe",
    )
    return parser


def _per_cent(text: str) -> float:
    return float(text.removesuffix("%")) / 100


def _width(text: str) -> int:
    if not text.isdecimal() or int(text) < _NARROWEST:
        raise argparse.ArgumentTypeError(f"{text} is not a number of columns from {_NARROWEST} on")
    return int(text)


def _picture(study: Study, parsed: argparse.Namespace) -> tuple[Picture | None, str]:
    """The plot, or why there is none."""
    if parsed.picture.suffix not in _SUFFIXES:
        return None, _SUFFIX
    if parsed.of == "picks":
        return picks(study), "the study has no costs of picks (simulate --picks has)"
    loads = sorted({cell.load for cell in study.cells})
    if parsed.load is not None and parsed.load not in loads:
        there = ", ".join(f"{known * 100:g}" for known in loads) or "none"
        return None, f"the study has no load of {parsed.load * 100:g} %; it has {there}"
    return heatmap(study, parsed.load), "the study has no cells"


def _compared(old: Study, new: Study, parsed: argparse.Namespace) -> tuple[Picture | None, str]:
    """The plot of the ratios, or why there is none."""
    if parsed.picture.suffix not in _SUFFIXES:
        return None, _SUFFIX
    if parsed.of == "picks":
        return None, "the cost of picks is drawn of one study, and two were given"
    found = compare(old, new)
    load = usual_load(found.loads) if parsed.load is None else parsed.load
    if load is None or load not in found.loads:
        there = ", ".join(f"{known * 100:g}" for known in found.loads) or "none"
        return None, f"the studies have these loads in common, in per cent: {there}"
    return comparison(found, load), ""


def _drawn(picture: Picture, path: Path) -> bytes:
    return picture.png() if path.suffix == ".png" else picture.file()


def _show(study: Study, other: Study | None, out: Console) -> None:
    if other is None:
        print_study(study, out)
    else:
        print_comparison(study, other, out)
