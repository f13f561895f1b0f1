"""What becomes of a study: shown, written, drawn."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.study.record import save

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.study.record import Sample, Study

__all__ = ["finish", "plain"]


def finish(study: Study, json: Path | None, html: Path | None) -> int:
    """Write and show it; the exit code: 0, 1 when it can't be written, 130 when interrupted.

    It is written first, so that nothing that goes wrong in showing it costs the run.
    """
    code = 130 if study.interrupted else 0
    if json is not None:
        try:
            save(study, json)
        except OSError as error:
            print(f"--json {json}: {error.strerror}", file=sys.stderr)
            code = 1
    print(plain(study))
    if html is not None:
        print("--html: the report can't be drawn yet", file=sys.stderr)
    return code


def plain(study: Study) -> str:
    """One line for each sample."""
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
    return f"{sample.throughput:7.0f}/s {tail} ms {counts}{errors} {sample.saturated}"
