"""`python -m benchmarks peers`: who is compared, by which words, and a small run."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import main
from benchmarks.harness import peers, take
from benchmarks.harness.peers import LOADS, REFERENCE, WORKLOADS, selected, subjects
from benchmarks.peers import Peer
from benchmarks.peers.warm import Warm
from benchmarks.study import record, workloads
from benchmarks.study.choice import ChoiceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.harness.plan import Options, Subject
    from benchmarks.study.record import Study
    from benchmarks.study.workloads import Workload


class _Runs:
    """Stands for the runner, and keeps what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.workloads: list[str] = []
        self.loads: list[float] = []
        monkeypatch.setattr(take, "run_matrix", self)

    def __call__(
        self,
        study: Study,
        compared: Sequence[Subject],
        wanted: Sequence[Workload],
        loads: Sequence[float],
        options: Options,  # noqa: ARG002 - the runner's
        progress: object,  # noqa: ARG002 - the runner's
        reference: Subject,
    ) -> None:
        assert study.kind == "peers"
        assert reference.name == REFERENCE
        self.names = [one.name for one in compared]
        self.workloads = [one.name for one in wanted]
        self.loads = list(loads)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> _Runs:
    return _Runs(monkeypatch)


def test_all_peers_the_usual_workloads_and_a_light_load(runs: _Runs) -> None:
    assert main(["peers"]) == 0
    assert runs.names == list(subjects())
    assert sorted(runs.workloads) == sorted(WORKLOADS)
    assert runs.loads == list(LOADS)


def test_quick_has_the_quick_workloads(runs: _Runs) -> None:
    assert main(["peers", "--quick", "--only", "balancer"]) == 0
    assert runs.workloads == [row.name for row in workloads.WORKLOADS.values() if row.quick]
    assert runs.loads == list(LOADS)
    assert {name.split()[0] for name in runs.names} == {"balancer"}


def test_what_is_asked_for_is_what_is_run(runs: _Runs) -> None:
    arguments = ["--workload", "cpu-mix", "--load", "50", "--only", "node", "--only", "nginx l"]
    assert main(["peers", *arguments]) == 0
    assert runs.names == ["node cluster", "node cluster none", "nginx least_conn + uvicorn"]
    assert (runs.workloads, runs.loads) == (["cpu-mix"], [0.5])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "apache"], "--only apache: no peer's name starts so; the peers are balancer"),
        (["--workload", "lunch"], "--workload lunch: there is none; the workloads are uniform,"),
    ],
)
def test_an_unknown_name_is_answered_with_those_that_exist(
    arguments: list[str], words: str, runs: _Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["peers", *arguments]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(words)
    assert (told.out, told.err.count("\n"), runs.names) == ("", 1, [])


def test_names_are_in_the_tables_order() -> None:
    assert selected(["b", "a"], ["a1", "b1", "c1", "a2"]) == ["a1", "b1", "a2"]
    assert selected([], ["a1", "b1"]) == ["a1", "b1"]
    with pytest.raises(ChoiceError, match="the peers are a1, b1"):
        selected(["a", "x"], ["a1", "b1"])


def test_subjects_are_the_peers_and_stay_up_for_all_workloads() -> None:
    rows = list(workloads.WORKLOADS.values())
    for name, one in subjects().items():
        made = {id(one.make(row)): one.make(row) for row in rows}
        (peer,) = made.values()
        assert isinstance(peer, Peer)
        assert (one.name, peer.name, one.hands_over) == (name, name, peer.hands_over)
    assert {name for name, one in subjects().items() if one.hands_over} == {
        "balancer round-robin",
        "balancer least-connections",
        "node cluster",
    }


@pytest.mark.node
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH")
def test_a_run_measures_who_is_there_and_says_who_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("node")
    assert program is not None
    (tmp_path / "node").symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(peers, "Warm", partial(Warm, each=10))
    file = tmp_path / "study.json"
    sizes = ["--rounds", "1", "--duration", "0.3", "--workers", "2", "--json", str(file)]
    only = ["--only", "node cluster", "--only", "nginx", "--only", "haproxy roundrobin"]
    code = main(["peers", *only, "--workload", "uniform", "--load", "20", *sizes])
    assert code == 0
    cells = {cell.subject: cell for cell in record.load(file).cells}
    for name in ("node cluster", "node cluster none"):
        (sample,) = cells[name].samples
        assert (cells[name].missing, sample.errors) == ("", {})
        assert sum(sample.connections) == sample.answered > 0
        assert len(sample.connections) == 2
    assert {cell.missing for cell in cells.values() if not cell.samples} == {
        "nginx is not on PATH",
        "haproxy is not on PATH",
    }
