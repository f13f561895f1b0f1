"""Medians, paired ratios, and rows that say why they are empty."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.report import as_json, paired_ratios, render, write_json
from benchmarks.runner import Metric, Options, Results

if TYPE_CHECKING:
    from pathlib import Path

ABOUT: dict[str, object] = {"cpu": "test", "cores": 2, "kernel": "6", "python": "3.11"}


def _results() -> Results:
    metrics = (
        Metric("rate", "req/s"),
        Metric("master", "master µs", 1, 1e6, higher_is_better=False, of_master=True),
        Metric("errors", "errors", is_count=True),
    )
    results = Results("demo", metrics, Options(rounds=3))
    results.samples = {
        "ours": [
            {"rate": 2000.0, "master": 30e-6, "errors": 0.0},
            {"rate": 3000.0, "master": 40e-6, "errors": 0.0},
            None,
        ],
        "theirs": [
            {"rate": 1000.0, "master": 60e-6, "errors": 0.0},
            {"rate": 2000.0, "master": 50e-6, "errors": 1.0},
            {"rate": 9000.0, "master": 10e-6, "errors": 0.0},
        ],
        "static": [{"rate": 4000.0, "master": 0.0}],
    }
    results.missing = {"other": "other is not on PATH"}
    results.without_master = {"static"}
    return results


def test_ratios_pair_the_rounds_that_both_have() -> None:
    samples = _results().samples
    assert paired_ratios(samples["ours"], samples["theirs"], "rate") == [2.0, 1.5]


def test_the_table_has_medians_ratios_and_reasons() -> None:
    lines = render(_results(), ABOUT).splitlines()
    assert any(line.startswith("ours ") and "2,500 (2,000 … 3,000)" in line for line in lines)
    assert any(line.startswith("ours ") and "35.0 (30.0 … 40.0)" in line for line in lines)
    assert any(line.startswith("ours ÷ theirs") and "1.75 (1.50 … 2.00)" in line for line in lines)
    assert "not measured: other is not on PATH" in render(_results(), ABOUT)


def test_a_master_that_hands_nothing_over_has_no_figure() -> None:
    row = next(x for x in render(_results(), ABOUT).splitlines() if x.startswith("static"))
    assert row.split()[1:] == ["4,000", "(4,000", "…", "4,000)", "–", "–"]


def test_a_run_without_any_sample_still_reports() -> None:
    results = Results("demo", (Metric("rate", "req/s"),), Options(), interrupted=True)
    results.missing = {"balancer": "did not start"}
    assert "interrupted" in render(results, ABOUT)
    assert as_json(results, ABOUT)["medians"] == {}


def test_the_json_holds_every_sample_and_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    write_json(path, _results(), ABOUT)
    form = json.loads(path.read_text())
    assert form["machine"] == ABOUT
    assert form["samples"]["ours"][2] is None
    assert form["medians"]["theirs"]["rate"] == 2000.0
    assert form["ratios"]["theirs"]["rate"] == [2.0, 1.5]
