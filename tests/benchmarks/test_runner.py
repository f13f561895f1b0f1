"""The runner alternates, survives a missing peer and a failed sample, and keeps what it has."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import main
from benchmarks.loads import LoadError
from benchmarks.peers import MissingPeerError, Peer, RunningPeer
from benchmarks.runner import Metric, Options, Results, Sample, run

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.process import ServerProcess
    from benchmarks.runner import Benchmark


class Idle(Peer):
    """A process that only waits to be ended."""

    def __init__(self, name: str) -> None:
        self.name = name

    def command(self, workers: int, folder: Path) -> list[str]:  # noqa: ARG002 - the interface
        return [sys.executable, "-uc", "import signal; print('up'); signal.pause()"]

    def wait_started(self, process: ServerProcess) -> int:
        process.wait_for_line("up")
        return process.pid


class Absent(Idle):
    def command(self, workers: int, folder: Path) -> list[str]:  # noqa: ARG002 - the interface
        raise MissingPeerError("not here")


class Recorder:
    """Writes down whom it was asked to sample; fails or is interrupted at a given call."""

    name = "recorder"
    metrics = (Metric("call", "call"),)

    def __init__(self, *, fail_at: int = 0, interrupt_at: int = 0) -> None:
        self.asked: list[int] = []
        self._fail_at = fail_at
        self._interrupt_at = interrupt_at

    def workers(self, options: Options) -> int:
        return options.workers

    def warm_up(self, peer: RunningPeer, options: Options) -> None: ...

    def sample(self, peer: RunningPeer, options: Options) -> Sample:  # noqa: ARG002
        self.asked.append(peer.port)
        if len(self.asked) == self._fail_at:
            raise LoadError("failed on purpose")
        if len(self.asked) == self._interrupt_at:
            raise KeyboardInterrupt
        return {"call": float(len(self.asked))}


def _quiet(text: str) -> None: ...


def test_peers_alternate_within_each_round() -> None:
    recorder = Recorder()
    results = run(recorder, [Idle("a"), Idle("b")], Options(rounds=2), _quiet)
    assert recorder.asked[:2] == recorder.asked[2:]
    assert results.samples == {
        "a": [{"call": 1.0}, {"call": 3.0}],
        "b": [{"call": 2.0}, {"call": 4.0}],
    }


def test_a_missing_peer_is_a_row_that_says_so() -> None:
    results = run(Recorder(), [Absent("x"), Idle("a")], Options(rounds=1), _quiet)
    assert results.missing == {"x": "not here"}
    assert list(results.samples) == ["a"]


def test_a_failed_sample_keeps_its_round_for_the_pairing() -> None:
    results = run(Recorder(fail_at=1), [Idle("a")], Options(rounds=2), _quiet)
    assert results.samples == {"a": [None, {"call": 2.0}]}


def test_fresh_peers_are_others_in_every_round_and_a_missing_one_is_asked_once() -> None:
    recorder = Recorder()
    results = run(recorder, [Idle("a"), Absent("x")], Options(rounds=3), _quiet, fresh=True)
    assert len(set(recorder.asked)) == 3  # an idle peer's port is its pid
    assert results.samples == {"a": [{"call": 1.0}, {"call": 2.0}, {"call": 3.0}]}
    assert results.missing == {"x": "not here"}


def test_quick_is_one_round_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Options] = []

    def note(benchmark: Benchmark, _peers: object, options: Options, **_: bool) -> Results:
        seen.append(options)
        return Results(benchmark.name, benchmark.metrics, options)

    monkeypatch.setattr("benchmarks.__main__.run", note)
    main(["proxy", "--quick"])
    main(["proxy", "--quick", "--rounds", "2", "--rate", "5"])
    main(["handoff"])
    assert seen == [
        Options(1, 1.0, rate=1000.0, connections=1000),
        Options(2, 1.0, rate=5.0, connections=1000),
        Options(),
    ]


def test_an_interrupted_run_keeps_the_finished_rounds() -> None:
    results = run(Recorder(interrupt_at=4), [Idle("a"), Idle("b")], Options(rounds=5), _quiet)
    assert results.interrupted
    assert [len(samples) for samples in results.samples.values()] == [2, 1]


def test_a_name_that_leaves_no_peer_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["handoff", "--only", "nosuch"])
    assert "--only nosuch" in capsys.readouterr().err
