"""Medians, paired ratios, and rows that say why they are empty."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.compare import Added, Ceiling, Floor, View
from benchmarks.runner import Metric, Options, Results
from benchmarks.summary import as_json, render, write_json

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


def _compared() -> tuple[Results, View]:
    metrics = (
        Metric("rate", "req/s", group="hello"),
        Metric("errors", "errors", is_count=True, group="hello"),
        Metric("speed", "MB/s", group="download"),
    )
    results = Results("demo", metrics, Options(rounds=2))
    results.samples = {
        "ours": [{"rate": 30.0, "speed": 5.0, "w1": 3.0, "w2": 1.0}, None],
        "theirs": [{"rate": 20.0, "speed": 10.0, "w1": 2.0, "w2": 2.0}] * 2,
    }
    results.missing = {"other": "did not start: its log ended\n    | first\n    | No such option"}
    floors = (Floor("rate", "ours", "theirs", 1.0, goal=2.0), Floor("speed", "ours", "other", 1.0))
    return results, View(("theirs",), False, floors, ("w1", "w2"), "two at once")


def test_each_group_is_a_table_with_ratios_to_the_references() -> None:
    results, view = _compared()
    lines = render(results, ABOUT, view).splitlines()
    assert "two at once" in lines[0]
    hello, download = lines.index("hello:"), lines.index("download:")
    assert lines[hello + 1].split()[-2:] == lines[download + 1].split()[-2:] == ["÷", "theirs"]
    assert lines[hello + 2].endswith("1.50 (1.50 … 1.50)")
    assert lines[hello + 3].endswith(" 1")
    assert lines[download + 2].endswith("0.50 (0.50 … 0.50)")
    assert lines[hello + 4] == "other   not measured: did not start: its log ended: No such option"


def test_shares_and_floors_have_their_tables() -> None:
    results, view = _compared()
    lines = render(results, ABOUT, view).splitlines()
    shares = next(n for n, line in enumerate(lines) if line.startswith("requests per worker"))
    assert [line.split() for line in lines[shares + 1 : shares + 3]] == [
        ["ours", "3/1", "–"],
        ["theirs", "2/2", "2/2"],
    ]
    assert lines[-2].split()[:7] == ["req/s", "ours", "÷", "theirs", "≥", "1", "(goal"]
    assert lines[-2].endswith("floor met, goal missed")
    assert lines[-1].endswith("not measured")


def test_floors_are_in_the_json_with_their_verdict() -> None:
    form = as_json(*_compared()[:1], ABOUT, _compared()[1])
    floors = json.loads(json.dumps(form))["floors"]
    assert [floor["words"] for floor in floors] == ["floor met, goal missed", "not measured"]
    assert floors[0]["ratios"] == [1.5]


def _over_a_baseline() -> tuple[Results, View]:
    results = Results("demo", (Metric("p50", "p50 ms", 1, 1e3), Metric("kb", "KB")), Options())
    results.samples = {
        "ours": [{"p50": 0.003, "kb": 4.0}, {"p50": 0.005, "kb": 6.0}],
        "direct": [{"p50": 0.001}, {"p50": 0.002}],
    }
    ceilings = (
        Ceiling("kb", "ours", 5.0),
        Ceiling("kb", "ours", 4.5),
        Ceiling("kb", "direct", 1.0),
    )
    added = Added("direct", ("p50",), "added")
    return results, View(ratios=False, ceilings=ceilings, added=added)


def test_what_is_added_is_paired_and_limits_are_judged_by_the_median() -> None:
    results, view = _over_a_baseline()
    lines = render(results, ABOUT, view).splitlines()
    added = lines.index("added:")
    assert lines[added + 1].split() == ["p50", "ms"]
    assert lines[added + 2] == "ours  2.5 (2.0 … 3.0)"
    assert lines[added + 3] == ""
    assert [line.split()[-1] for line in lines[-3:]] == ["met", "missed", "measured"]
    form = as_json(results, ABOUT, view)
    assert form["added"] == {"ours": {"p50": [0.002, 0.003]}}
