"""What stands in the terminal: complete at a hundred columns, and without colours."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from benchmarks.report.tables import print_comparison, print_study
from benchmarks.study.workloads import WORKLOADS
from tests.benchmarks.report import studies

if TYPE_CHECKING:
    from benchmarks.study.record import Study


def printed(study: Study, other: Study | None = None, *, width: int = 100) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width)
    if other is None:
        print_study(study, console)
    else:
        print_comparison(study, other, console)
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100])
def test_everything_is_there_within_the_columns(width: int) -> None:
    study = studies.policies()
    study.picks = studies.picks()
    text = printed(study, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert "…" not in text
    for subject in studies.POLICIES:
        assert subject in text
    for load in ("50 %", "70 %", "90 %"):
        assert f"p99 at {load} of capacity" in text
    assert "Cost of one pick" in text


def test_each_column_has_a_best_one() -> None:
    study = studies.policies(loads=(0.7,))
    headline = printed(study).split("★ best of the workload")[0]
    assert headline.count("★") >= len(WORKLOADS)


def test_a_row_has_the_medians() -> None:
    study = studies.policies(("round-robin",), ("uniform",), (0.7,), rounds=1)
    (sample,) = study.cells[0].samples
    text = printed(study)
    assert re.search(rf"{sample.percentile(99) * 1e3:.3g}0* ms", text)


def test_what_is_missing_saturated_or_interrupted_is_said() -> None:
    study = studies.awkward()
    text = printed(study)
    flat = " ".join(text.split())
    for cell in study.cells:
        if cell.missing:
            assert " ".join(cell.missing.splitlines()[0].split()) in flat
        for sample in cell.samples:
            if sample.saturated:
                assert "measured the generator, not the server" in flat
    if study.interrupted:
        assert "interrupted" in flat


def test_many_reasons_for_errors_are_folded_and_nothing_is_cut() -> None:
    study = studies.awkward()
    reasons = {f"reason number {number}": 1000 + number for number in range(12)}
    study.cells[0].samples[0].errors.update(reasons)
    text = printed(study)
    assert max(map(len, text.splitlines())) <= 100
    # rich puts it where a cell doesn't fit
    assert "…" not in text
    assert all(f"{count:,}" in text for count in reasons.values())


def test_nothing_is_said_so() -> None:
    study = studies.policies((), (), ())
    assert "Nothing was measured" in printed(study)


def test_a_study_that_is_twice_as_fast_is_better() -> None:
    names = ("round-robin", "shared"), ("uniform",), (0.7,)
    slow, fast = studies.policies(*names), studies.policies(*names, better=2.0)
    text = printed(slow, fast)
    assert "B ÷ A" in text
    assert re.search(r"\+ 0\.\d\d", text)
    assert not re.search(r"− \d", printed(slow, slow))


def test_studies_without_common_cells_are_not_compared() -> None:
    one = studies.policies(("round-robin",), ("uniform",), (0.7,))
    two = studies.policies(("shared",), ("uniform",), (0.7,))
    assert "no cell in common" in printed(one, two)
