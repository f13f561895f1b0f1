"""A run visits everybody, and keeps what it has."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from benchmarks.harness import matrix
from benchmarks.harness.matrix import Options, Subject, Visit, run_matrix, settings
from benchmarks.loads import LoadError
from benchmarks.peers import MissingPeerError, Node, Peer
from benchmarks.study.begin import begin
from benchmarks.study.record import Sample, Study, load, save
from benchmarks.study.workloads import WORKLOADS, Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

SAMPLE = Sample(10.0, 10.0, 10, {}, [(100.0, 0.1)], 0.05, [5, 5], [5, 5])
OPTIONS = Options(rounds=2)
ROWS = [WORKLOADS["uniform"], WORKLOADS["new-connections"]]


class Quiet:
    """A progress that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def expect(self, seconds: float) -> None: ...

    def step(self, text: str) -> None: ...

    def done(self, expected: float, took: float) -> None: ...


class FakeServers:
    """All are up, but for the peer `missing`."""

    def __init__(self, workers: int) -> None:
        assert workers == OPTIONS.workers
        self.missing: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *what: object) -> None: ...

    def start(self, peers: list[Peer]) -> None:
        self.missing = {peer.name: "not on PATH" for peer in peers if peer.name == "missing"}

    def get(self, peer: Peer) -> Peer:
        if peer.name in self.missing:
            raise MissingPeerError(self.missing[peer.name])
        return peer


def subject(name: str) -> Subject:
    def make(workload: Workload) -> Peer:  # noqa: ARG001 - the same for all of them
        peer = Node()
        object.__setattr__(peer, "name", name)
        return peer

    return Subject(name, make)


def measured(
    monkeypatch: pytest.MonkeyPatch,
    measure: Callable[[Visit, float], Sample],
    *names: str,
    ceiling: float = 40_000.0,
) -> tuple[Study, list[str]]:
    monkeypatch.setattr(matrix, "Servers", FakeServers)
    monkeypatch.setattr(matrix, "Pool", nullcontext)
    monkeypatch.setattr(matrix, "ceiling", lambda *_: ceiling)
    monkeypatch.setattr(matrix, "capacity", lambda *_: 700.0)

    def fake(_: Any, visit: Visit, rate: float, *rest: object) -> Sample:  # noqa: ANN401, ARG001
        return measure(visit, rate)

    monkeypatch.setattr(matrix, "measure", fake)
    study, progress = begin("policies", [], settings(OPTIONS)), Quiet()
    run_matrix(study, [subject(name) for name in names], ROWS, [0.5, 0.9], OPTIONS, progress)
    return study, progress.said


def test_every_cell_has_a_sample_of_every_round(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rates: dict[tuple[str, float], set[float]] = {}

    def measure(visit: Visit, rate: float) -> Sample:
        rates.setdefault((visit.subject.name, visit.load), set()).add(rate)
        return SAMPLE

    study, _ = measured(monkeypatch, measure, "a", "b")
    assert [(c.workload, c.load, c.subject) for c in study.cells[:4]] == [
        ("uniform", 0.5, "a"),
        ("uniform", 0.5, "b"),
        ("uniform", 0.9, "a"),
        ("uniform", 0.9, "b"),
    ]
    assert [len(cell.samples) for cell in study.cells] == [2] * 8
    assert rates["a", 0.5] == rates["b", 0.5] == {350.0}
    assert rates["a", 0.9] == {630.0}
    assert (study.ceiling, study.interrupted, study.notes) == (40_000.0, False, [])
    save(study, tmp_path / "study.json")
    assert load(tmp_path / "study.json") == study


def test_who_is_missing_is_a_row_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    study, said = measured(monkeypatch, lambda *_: SAMPLE, "missing", "b")
    assert {cell.missing for cell in study.cells if cell.subject == "missing"} == {"not on PATH"}
    assert {cell.missing for cell in study.cells if cell.subject == "b"} == {""}
    assert said == ["missing: not on PATH"]
    assert study.capacities == {"uniform": 700.0, "new-connections": 700.0}


def test_ctrl_c_keeps_what_was_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def measure(visit: Visit, rate: float) -> Sample:  # noqa: ARG001 - what is measured
        taken.append(visit)
        if len(taken) == 4:
            raise KeyboardInterrupt
        return SAMPLE

    study, _ = measured(monkeypatch, measure, "a", "b")
    assert study.interrupted
    assert sum(len(cell.samples) for cell in study.cells) == 3
    rest = {cell.missing for cell in study.cells if not cell.samples}
    assert rest == {"the run ended before it was measured"}


def test_no_more_is_offered_than_a_quarter_of_the_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = set()

    def measure(visit: Visit, rate: float) -> Sample:  # noqa: ARG001 - how much is offered
        rates.add(rate)
        return SAMPLE

    study, said = measured(monkeypatch, measure, "a", ceiling=2000.0)
    assert rates == {350.0, 500.0}
    assert "uniform at 90%: 500 requests/s are offered and not 630" in study.notes[0]
    assert len(study.notes) == 2
    assert said == study.notes


def test_a_cell_that_failed_once_has_its_other_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(visit: Visit, rate: float) -> Sample:  # noqa: ARG001 - who fails
        if visit.round == 1 and visit.subject.name == "a":
            raise LoadError("no request was answered")
        return SAMPLE

    study, _ = measured(monkeypatch, measure, "a", "b")
    assert {len(cell.samples) for cell in study.cells if cell.subject == "a"} == {1}
    assert {cell.missing for cell in study.cells} == {""}


def test_a_saturated_generator_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    late = replace(SAMPLE, saturated="so this measured the generator")
    _, said = measured(monkeypatch, lambda *_: late, "a")
    assert said[0] == "a, uniform at 50%: so this measured the generator"
