"""What becomes of a study: written, shown, drawn."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from benchmarks.report.console import console
from benchmarks.report.tables import print_study
from benchmarks.study.record import RecordError, check_writable, save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.study.record import Study

__all__ = ["check", "finish"]

# Imported when it is asked for: what draws takes a second to load.
_HTML = "benchmarks.report.html"


def check(json: Path | None, html: Path | None) -> None:
    """RecordError where ``finish`` couldn't do its part: half an hour later is too late."""
    check_writable("--json", json)
    check_writable("--html", html)
    if html is not None:
        try:
            importlib.import_module(_HTML)
        except ModuleNotFoundError as error:
            raise RecordError(
                f"--html {html}: {error.name} is not installed: pip install -e '.[bench]'"
            ) from error


def finish(study: Study, json: Path | None, html: Path | None) -> int:
    """Write and show it; the exit code: 0, 1 when it can't be written, 130 when interrupted.

    It is written first, so that nothing that goes wrong in showing it costs the run.
    """
    written = _write("--json", json, lambda path: save(study, path))
    print_study(study, console())
    drawn = _write("--html", html, lambda path: _draw(study, path))
    if not (written and drawn):
        return 1
    return 130 if study.interrupted else 0


def _draw(study: Study, path: Path) -> None:
    page = importlib.import_module(_HTML)
    path.write_text(page.render_html(study), encoding="utf-8")


def _write(flag: str, path: Path | None, write: Callable[[Path], None]) -> bool:
    """False, and a sentence, when it could not be done."""
    try:
        if path is not None:
            write(path)
    except OSError as error:
        print(f"{flag} {path}: {error.strerror}", file=sys.stderr)
        return False
    return True
