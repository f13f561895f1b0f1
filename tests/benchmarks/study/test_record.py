"""Studies survive being written, and what is none is refused with a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.study.record import Cell, RecordError, Sample, check_writable, load, save
from tests.benchmarks.report import studies

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    study = studies.policies(("round-robin", "shared"), ("uniform", "heavy-tail"), (0.7,))
    study.picks = studies.picks()
    study.notes.append('"cells":[] is not where they stand')
    study.cells.append(Cell('"cells":[]', "uniform", 0.7, missing="it isn't there"))
    file = tmp_path / "study.json"
    save(study, file)
    assert load(file) == study
    assert len(file.read_text().splitlines()) == len(study.cells) + 2


def test_one_without_cells_is_read(tmp_path: Path) -> None:
    study = studies.policies((), (), ())
    save(study, tmp_path / "study.json")
    assert load(tmp_path / "study.json") == study


def test_another_version_is_refused(tmp_path: Path) -> None:
    study = studies.policies((), (), ())
    study.version = 99
    save(study, tmp_path / "study.json")
    with pytest.raises(RecordError, match="has version 99 of the format"):
        load(tmp_path / "study.json")


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"kind": 1}', b"\xff\xfe"])
def test_what_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "study.json"
    file.write_bytes(content)
    with pytest.raises(RecordError, match="is no study"):
        load(file)


def test_a_percentile_is_the_first_at_or_above_it() -> None:
    sample = Sample(1, 1, 1, {}, [(0.0, 1.0), (50.0, 2.0), (99.0, 3.0), (100.0, 4.0)], 2, [1], [1])
    assert [sample.percentile(at) for at in (0, 50, 50.1, 99.5, 100)] == [1.0, 2.0, 3.0, 4.0, 4.0]
    assert Sample(1, 0, 0, {}, [], 0, [], []).percentile(99) == 0.0


def test_a_place_that_can_not_be_written_to_is_known_before(tmp_path: Path) -> None:
    check_writable("--json", None)
    check_writable("--json", tmp_path / "new.json")
    with pytest.raises(RecordError, match=r"^--json .*: is a folder"):
        check_writable("--json", tmp_path)
    with pytest.raises(RecordError, match=r"there is no folder .*nowhere"):
        check_writable("--html", tmp_path / "nowhere" / "a.html")
