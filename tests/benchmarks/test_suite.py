"""Every benchmark end to end against a real peer, with the own generator instead of ab and wrk."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from benchmarks import loads
from benchmarks.__main__ import main
from benchmarks.loadgen import Plan, run
from benchmarks.peers import MissingPeerError, Nginx, Node

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH"),
]


@pytest.fixture
def only_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH with node and nothing else."""
    _only_these(tmp_path, monkeypatch, "node")


def _only_these(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *programs: str) -> None:
    (tmp_path / "bin").mkdir()
    for name in programs:
        program = shutil.which(name)
        assert program is not None
        (tmp_path / "bin" / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.mark.usefixtures("only_node")
@pytest.mark.parametrize(
    ("benchmark", "figures"),
    [
        ("handoff", {"ab_per_second", "wrk_per_second", "master_cpu", "total_cpu", "p50", "p99"}),
        ("keepalive", {"per_second", "total_cpu"}),
        ("memory", {"worker", "master", "total"}),
        ("serve", {"hello_rate", "hello_cpu", "post_rate", "post_cpu", "download_rate"}),
        ("fairness", {"max_by_mean", "jain", "makespan", "worker_1"}),
    ],
)
def test_a_benchmark_measures_node(benchmark: str, figures: set[str], tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    options = ["--rounds", "1", "--duration", "0.2", "--rate", "100", "--json", str(result)]
    assert main([benchmark, *options, "--only", "node", "--only", "nginx"]) == 0
    form = json.loads(result.read_text())
    (sample,) = form["samples"]["node cluster"]
    assert figures <= set(sample)
    assert all(sample[name] > 0 for name in figures)
    assert not any(value for name, value in sample.items() if name.endswith("errors"))
    demo = benchmark not in {"serve", "fairness"}
    assert form["missing"] == ({"nginx": "nginx is not on PATH"} if demo else {})


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not on PATH")
@pytest.mark.parametrize(
    ("benchmark", "figures"),
    [
        (
            "proxy",
            {"small_rate", "small_cpu", "small_p99", "large_rate", "large_cpu", "p50", "p999"},
        ),
        ("idle", {"pss", "rss", "held", "again"}),
    ],
)
def test_front_doors_are_measured(
    benchmark: str, figures: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only_these(tmp_path, monkeypatch, "node", "nginx")
    result = tmp_path / "result.json"
    options = ["--quick", "--duration", "0.1", "--connections", "300", "--json", str(result)]
    assert main([benchmark, *options, "--only", "node", "--only", "upstream", "--only", "ha"]) == 0
    form = json.loads(result.read_text())
    (sample,) = form["samples"]["node cluster"]
    assert figures <= {name for name, value in sample.items() if value > 0}
    assert not any(value for name, value in sample.items() if name.endswith("errors"))
    assert form["missing"] == {"haproxy": "haproxy is not on PATH"}
    if benchmark == "proxy":
        assert set(form["added"]["node cluster"]) == {"p50", "p99", "p999"}


@pytest.mark.usefixtures("only_node")
def test_without_tools_the_own_generator_runs() -> None:
    with Node().start(2) as node:
        result = loads.new_connections_wrk(node.port, 0.2)
    assert (result.tool, result.errors) == ("own", 0)
    assert result.completed > 0


def test_node_answers_on_all_its_workers_and_leaves_nobody() -> None:
    with Node().start(2) as node:
        report = run(Plan(port=node.port, count=20, concurrency=1))
        pids = {record.pid for record in report.records}
        assert pids == node.workers()
    assert node.process.family() == set()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not on PATH")
def test_nginx_answers_as_its_workers_do() -> None:
    with Nginx().start(2) as nginx:
        report = run(Plan(port=nginx.port, count=20))
        assert {record.pid for record in report.records} <= nginx.workers()
        assert len(nginx.workers()) == 2
    assert nginx.process.family() == set()


def test_a_program_that_is_not_there_is_a_missing_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingPeerError, match="node is not on PATH"):
        Node().start(1)
