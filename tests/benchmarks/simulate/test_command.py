"""``python -m benchmarks simulate``: what it writes, says, and refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from balancer.core.policy import KERNEL_POLICIES, POLICIES
from benchmarks.__main__ import main
from benchmarks.simulate import cells, picks, validate
from benchmarks.simulate.validate import Row
from benchmarks.study.record import load
from benchmarks.study.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def few_picks(monkeypatch: pytest.MonkeyPatch) -> None:
    def costs(policy: str) -> Iterator[tuple[int, float]]:
        if policy in POLICIES:
            yield 2, 1e-6

    monkeypatch.setattr(picks, "costs", costs)


def run(*arguments: str) -> int:
    return main(["simulate", *arguments])


def test_everything_is_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "study.json"
    assert run("--connections", "200", "--json", str(file)) == 0
    study = load(file)
    assert study.kind == "simulate"
    subjects = POLICIES.keys() | KERNEL_POLICIES
    assert {cell.subject for cell in study.cells} == subjects
    usual = {(cell.subject, cell.workload) for cell in study.cells}
    assert usual >= {(subject, workload) for subject in subjects for workload in WORKLOADS}
    assert len(study.cells) == len(subjects) * (len(WORKLOADS) + len(cells.SCALE))
    assert study.capacities.keys() == {cell.workload for cell in study.cells}
    assert study.picks.keys() == POLICIES.keys()
    assert "uniform × 1,000 workers" in capsys.readouterr().out


def test_some_of_it(tmp_path: Path) -> None:
    file = tmp_path / "study.json"
    code = run(
        "--policy", "round-robin", "--workload", "heavy-tail", "--workers", "3,9",
        "--connections", "300", "--load", "50", "--seed", "5", "--kills", "9",
        "--json", str(file),
    )  # fmt: skip
    assert code == 0
    study = load(file)
    assert [(c.workload, c.load) for c in study.cells] == [
        ("heavy-tail", 0.5), ("heavy-tail × 9 workers", 0.5),
    ]  # fmt: skip
    assert [len(c.samples[0].requests) for c in study.cells] == [3, 9]
    assert study.settings["seed"] == 5


def test_only_picks(tmp_path: Path) -> None:
    file = tmp_path / "study.json"
    assert run("--picks", "--json", str(file)) == 0
    assert load(file).cells == []


def test_interrupted_it_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = cells.run, [None] * 3

    def interrupted(*arguments: object) -> object:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cells, "run", interrupted)
    file = tmp_path / "study.json"
    assert run("--connections", "100", "--json", str(file)) == 130
    study = load(file)
    assert study.interrupted
    assert len(study.cells) == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--policy", "nobody"), "--policy nobody: there is none; the policies are round-robin,"),
        (("--workload", "none"), "--workload none: there is none; the workloads are uniform,"),
        (("--policy", "nowhere:Class"), "--policy nowhere:Class: ModuleNotFoundError"),
    ],
)
def test_unknown_names_get_the_list(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(sentence)
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--connections", "0"), ("--workers", "4,x"), ("--workers", "0"), ("--load", "100"),
        ("--handoff", "-1"), ("--kills", "inf"),
    ],
)  # fmt: skip
def test_bad_numbers(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "nowhere" / "study.json"
    assert run("--picks", "--json", str(file)) == 2
    assert f"--json {file}: there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(("simulated", "code"), [(1.01, 0), (1.03, 1)])
def test_theory_decides(
    simulated: float, code: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(
        validate, "rows", lambda: iter([Row("a mean wait", 1.0, simulated, 0.02, 0.01)])
    )
    assert run("--validate") == code
    assert "a mean wait" in capsys.readouterr().out
