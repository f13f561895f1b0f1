"""The command: every policy is compared, and names that don't exist are answered with a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from balancer.core.policy import KERNEL_POLICIES, POLICIES
from benchmarks.__main__ import STUDIES, main
from benchmarks.harness import capacity
from benchmarks.harness.policies import subjects
from benchmarks.study.record import load
from benchmarks.study.workloads import WORKLOADS

if TYPE_CHECKING:
    from pathlib import Path


def test_every_policy_is_a_subject_and_its_server_is_told_so(tmp_path: Path) -> None:
    compared = subjects(4)
    assert set(compared) == {*POLICIES, *KERNEL_POLICIES}
    for name, one in compared.items():
        command = one.make(WORKLOADS["uniform"]).command(4, tmp_path)
        assert command[command.index("--policy") + 1] == name
        assert one.hands_over == (name in POLICIES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "fastest"], "--policy fastest: there is none; the policies are round-robin"),
        (["--workload", "x"], "--workload x: there is none; the workloads are uniform, heavy-tail"),
    ],
)
def test_an_unknown_name_is_answered_with_those_that_exist(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policies", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(message)
    assert (out, err.count("\n")) == ("", 1)


def test_a_package_that_is_missing_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(STUDIES, "policies", "no_such_package.study")
    assert main(["policies"]) == 2
    assert capsys.readouterr().err.startswith("no_such_package is not installed: pip install")


def test_a_real_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_SECONDS", 0.2)
    file = tmp_path / "study.json"
    how = ["--rounds", "1", "--duration", "0.3", "--workers", "2", "--json", str(file)]
    only = ["--policy", "round-robin", "--workload", "stopped-worker", "--load", "50"]
    assert main(["policies", *how, *only]) == 0
    study = load(file)
    (cell,) = study.cells
    (sample,) = cell.samples
    assert (cell.subject, cell.workload, cell.load) == ("round-robin", "stopped-worker", 0.5)
    assert sample.answered > 0
    assert not sample.errors
    # The one that is stopped has at most what it had before; what it had begun waits with it.
    assert sample.connections[0] > sample.connections[1]
    assert sample.recalls is not None
    assert study.capacities["stopped-worker"] > 0
    assert study.ceiling
