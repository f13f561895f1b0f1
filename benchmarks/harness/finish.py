"""What becomes of a study: written, shown, drawn."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from benchmarks.study.record import save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from benchmarks.study.record import Sample, Study

__all__ = ["finish", "plain"]


def finish(study: Study, json: Path | None, html: Path | None) -> int:
    """Write and show it; the exit code: 0, 1 when it can't be written, 130 when interrupted.

    It is written first, so that nothing that goes wrong in showing it costs the run.
    """
    written = _write("--json", json, lambda path: save(study, path))
    tables = _report("tables")
    if tables is None:
        print(plain(study))
    else:
        tables.print_study(study)
    drawn = _write("--html", html, lambda path: _draw(study, path))
    if not (written and drawn):
        return 1
    return 130 if study.interrupted else 0


def _draw(study: Study, path: Path) -> None:
    page = _report("html")
    if page is None:
        raise OSError(0, "what draws it is not installed: pip install -e '.[bench]'")
    path.write_text(page.render_html(study))


def _write(flag: str, path: Path | None, write: Callable[[Path], None]) -> bool:
    """False, and a sentence, when it could not be done."""
    try:
        if path is not None:
            write(path)
    except OSError as error:
        print(f"{flag} {path}: {error.strerror}", file=sys.stderr)
        return False
    return True


def _report(part: str) -> ModuleType | None:
    """A part of ``benchmarks.report``; None where what it draws with isn't installed."""
    try:
        return importlib.import_module(f"benchmarks.report.{part}")
    except ModuleNotFoundError:
        return None


def plain(study: Study) -> str:
    """One line for each sample, where there is nothing better."""
    lines = [
        f"{cell.workload:20} {cell.load:4.0%} {cell.subject:20} {_figures(sample)}"
        for cell in study.cells
        for sample in cell.samples
    ]
    lines += [
        f"{cell.workload:20} {cell.load:4.0%} {cell.subject:20} {cell.missing.splitlines()[0]}"
        for cell in study.cells
        if cell.missing
    ]
    return "\n".join([*lines, *study.notes, f"{study.seconds:g} s"])


def _figures(sample: Sample) -> str:
    tail = " ".join(f"{sample.percentile(p) * 1e3:8.1f}" for p in (50, 90, 99, 99.9, 100))
    errors = f" errors {sample.errors}" if sample.errors else ""
    counts = "/".join(map(str, sample.connections))
    return f"{sample.throughput:7.0f}/s {tail} ms {counts}{errors} {sample.saturated}".rstrip()
