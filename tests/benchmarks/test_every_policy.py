"""A policy is a class and a line in the table: who adds one hears here what is still missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from balancer.core.policy import KERNEL_POLICIES, POLICIES
from benchmarks.harness.policies import subjects
from benchmarks.simulate.subjects import policies
from benchmarks.study.workloads import WORKLOADS

README = Path(__file__).parents[2] / "README.md"
EVERY = [*POLICIES, *sorted(KERNEL_POLICIES)]


@pytest.mark.parametrize("name", EVERY)
def test_it_is_in_the_readme(name: str) -> None:
    rows = [line for line in README.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    (row,) = [row for row in rows if row.count("|") == 6]
    assert all(cell.strip() for cell in row.strip("|").split("|"))


def test_all_are_benchmarked_and_simulated() -> None:
    assert set(subjects(4)) == set(EVERY)
    assert set(policies([])) == set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_it_can_be_started_for_every_workload(name: str) -> None:
    subject = subjects(4)[name]
    for workload in WORKLOADS.values():
        command = subject.make(workload).command(4, Path("/tmp"))
        assert command[command.index("--policy") + 1] == name
