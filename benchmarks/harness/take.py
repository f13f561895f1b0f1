"""What ``policies`` and ``peers`` do alike once they know whom they compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.clients import raise_fd_limit
from benchmarks.harness.arguments import loads_from, options_from
from benchmarks.harness.matrix import run_matrix, settings, total
from benchmarks.harness.plan import plan
from benchmarks.harness.progress import Bar, clock
from benchmarks.report.finish import finish
from benchmarks.study.begin import begin

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from benchmarks.harness.plan import Subject
    from benchmarks.study.workloads import Workload

__all__ = ["take"]


def take(
    kind: str,
    arguments: Sequence[str],
    parsed: argparse.Namespace,
    compared: Sequence[Subject],
    workloads: Sequence[Workload],
    reference: Subject,
) -> int:
    """Run the study and show it; the exit code, as of ``finish``."""
    options, loads = options_from(parsed), loads_from(parsed)
    visits = plan(compared, workloads, loads, options.rounds, options.seed)
    raise_fd_limit()
    study = begin(kind, arguments, settings(options))
    with Bar() as bar:
        bar.say(f"{len(visits)} measurements, about {clock(total(visits, options))}")
        run_matrix(study, compared, workloads, loads, options, bar, reference)
    return finish(study, parsed.json, parsed.html)
