"""A study is written before anything else can go wrong, and shown."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from benchmarks.report import finish as module
from benchmarks.report.finish import check, finish
from benchmarks.study.record import Cell, RecordError, Sample, Study, load

if TYPE_CHECKING:
    from pathlib import Path

LATE = Sample(
    10.0,
    9.0,
    9,
    {"eof": 1},
    [(50.0, 0.005), (100.0, 2.0)],
    0.1,
    [5, 4],
    [5, 4],
    saturated="so this measured the generator",
)


def study(*, interrupted: bool = False) -> Study:
    cells = [
        Cell("round-robin", "uniform", 0.7, [LATE]),
        Cell("node", "uniform", 0.7, missing="node is not on PATH"),
    ]
    return Study(
        "policies", "2026-01-01T00:00:00+00:00", [], {}, {}, cells, interrupted=interrupted
    )


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Study]:
    """What the report was given; it draws `<html>`."""
    seen: list[Study] = []
    monkeypatch.setattr(module, "print_study", lambda study, _console: seen.append(study))
    page = ModuleType("html")
    page.render_html = lambda _study: "<html>"  # type: ignore[attr-defined]  # that is the point
    monkeypatch.setitem(sys.modules, "benchmarks.report.html", page)
    return seen


@pytest.mark.parametrize(("interrupted", "code"), [(False, 0), (True, 130)])
def test_it_is_written_shown_and_drawn(
    shown: list[Study], tmp_path: Path, interrupted: bool, code: int
) -> None:
    one = study(interrupted=interrupted)
    assert finish(one, tmp_path / "a.json", tmp_path / "a.html") == code
    assert load(tmp_path / "a.json") == one
    assert (tmp_path / "a.html").read_text() == "<html>"
    assert shown == [one]


def test_a_file_that_can_not_be_written_is_a_sentence(
    shown: list[Study], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere" / "a"
    assert finish(study(), nowhere, nowhere) == 1
    assert len(shown) == 1
    assert capsys.readouterr().err == (
        f"--json {nowhere}: No such file or directory\n"
        f"--html {nowhere}: No such file or directory\n"
    )


def test_all_is_shown_where_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert finish(study(), None, None) == 0
    out = capsys.readouterr().out
    assert "1 eof" in out
    assert "so this measured the generator" in out
    assert "node is not on PATH" in out


def test_a_page_that_can_not_be_drawn_is_known_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "benchmarks.report.html", None)
    check(tmp_path / "a.json", None)
    with pytest.raises(RecordError, match=r"^--html .*: .* is not installed: pip install"):
        check(None, tmp_path / "a.html")
    with pytest.raises(RecordError, match="there is no folder"):
        check(tmp_path / "nowhere" / "a.json", None)
