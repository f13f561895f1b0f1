"""The command: what it writes, and what it says to what it can't read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import main
from benchmarks.study.record import save
from tests.benchmarks.report import studies

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.json"
    save(studies.policies(("round-robin", "shared"), ("uniform",), (0.5, 0.7)), path)
    return path


def test_it_prints_and_writes_all_forms(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, plot, png = tmp_path / "a.html", tmp_path / "a.svg", tmp_path / "a.png"
    written = ["--html", str(page), "--picture", str(plot)]
    assert main(["report", str(file), *written, "--width", "100"]) == 0
    assert "p99 at 70 % of capacity" in capsys.readouterr().out
    assert page.read_text().startswith("<!doctype html>")
    assert "<svg" in plot.read_text()
    assert main(["report", str(file), "--picture", str(png), "--load", "50"]) == 0
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_pipe_has_a_hundred_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "b.json"
    save(studies.policies(loads=(0.7,)), path)
    assert main(["report", str(path)]) == 0
    assert 80 < max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_a_picture_of_two_is_that_of_their_ratios(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot, other = tmp_path / "ab.svg", tmp_path / "b.json"
    assert main(["report", str(file), str(file), "--picture", str(plot)]) == 0
    assert "p99 at 70 % of capacity: B ÷ A" in plot.read_text()
    assert main(["report", str(file), str(file), "--picture", str(plot), "--load", "50"]) == 0
    assert "p99 at 50 % of capacity: B ÷ A" in plot.read_text()
    save(studies.policies(("p2c",), ("uniform",), (0.9,)), other)
    for options, sentence in (
        ([str(file), "--load", "90"], "in per cent: 50, 70"),
        ([str(file), "--of", "picks"], "drawn of one study"),
        ([str(other)], "in per cent: none"),
    ):
        assert main(["report", str(file), *options, "--picture", str(plot)]) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("width", ["9", "-100", "wide"])
def test_a_width_that_holds_nothing_is_a_sentence(
    file: Path, capsys: pytest.CaptureFixture[str], width: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(file), f"--width={width}"])
    assert f"{width} is not a number of columns from 60 on" in capsys.readouterr().err


def test_two_are_compared(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(file), str(file)]) == 0
    assert "B ÷ A" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "No such file"),
        (b"{", "is no study"),
        (b"\xff", "is no study"),
        (b"[]", "is no study"),
        (b'{"benchmark": "handoff"}', "is no study"),
    ],
)
def test_what_is_no_study_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "b.json"
    if content is not None:
        path.write_bytes(content)
    assert main(["report", str(path)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert str(path) in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--picture", "x.gif"], ".svg or .png"),
        (["--picture", "x.svg", "--of", "picks"], "no costs of picks"),
        (["--picture", "x.svg", "--load", "33"], "it has 50, 70"),
    ],
)
def test_a_picture_that_can_not_be_drawn_is_a_sentence(
    file: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    assert main(["report", str(file), *options]) == 2
    assert sentence in capsys.readouterr().err


def test_a_place_that_can_not_be_written_to_is_a_sentence(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(file), "--html", "/nowhere/a.html"]) == 1
    assert "/nowhere/a.html: No such file" in capsys.readouterr().err
