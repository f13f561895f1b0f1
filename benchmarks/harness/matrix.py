"""A run over all cells: servers up, ceiling, capacities, then round after round.

``run_matrix`` is what both commands, ``policies`` and ``peers``, are made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.harness.plan import Options, Subject, Visit, plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.harness.progress import Progress
    from benchmarks.study.record import Study
    from benchmarks.study.workloads import Workload

__all__ = ["Options", "Subject", "Visit", "plan", "run_matrix"]


def run_matrix(
    study: Study,
    subjects: Sequence[Subject],
    workloads: Sequence[Workload],
    loads: Sequence[float],
    options: Options,
    progress: Progress,
) -> Study:
    """Fill the study's cells; the first subject that runs is the one that capacities are taken of.

    A server that doesn't start is a cell with ``missing``.  Ctrl-C ends the run, and what was
    finished is kept (``study.interrupted``).
    """
    raise NotImplementedError
