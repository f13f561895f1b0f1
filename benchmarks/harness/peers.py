"""``python -m benchmarks peers``: what a user would pick instead, under the same workloads.

All serve the app of ``benchmarks.apps`` (Node the same pages) with the same number of workers, each
with one event loop, and get the same requests at the same moments.  Whether a spread is even shows
at a light load, whose workers are idle: under a heavy one only those come for a connection who are
free, whoever chooses.  So one of the usual loads is light.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from benchmarks.harness.arguments import add_options, workloads_from
from benchmarks.harness.plan import Subject
from benchmarks.harness.take import take
from benchmarks.peers import for_study
from benchmarks.peers.warm import Warm
from benchmarks.report.finish import check
from benchmarks.study.choice import ChoiceError
from benchmarks.study.record import RecordError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from benchmarks.peers import Peer

__all__ = ["LOADS", "REFERENCE", "WORKLOADS", "main", "selected", "subjects"]

REFERENCE = "balancer round-robin"
"""With whom capacities are measured."""
WORKLOADS = (
    "uniform",
    "heavy-tail",
    "blocked-worker",
    "stopped-worker",
    "slow-worker",
    "few-clients",
)
"""Unless others are asked for."""
LOADS = (0.2, 0.7)
"""Likewise, also of ``--quick``."""


def main(arguments: Sequence[str]) -> int:
    """Exit codes: 0, 2 for a mistake in the arguments, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser("python -m benchmarks peers", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="only those whose name starts so (repeatable)",
    )
    add_options(parser, LOADS, "three workloads, one round of a second: three minutes")
    parser.epilog = (
        f"Workloads, unless --workload or --quick asks for others: {', '.join(WORKLOADS)}"
    )
    parsed = parser.parse_args(arguments)
    if not (parsed.workload or parsed.quick):
        parsed.workload = WORKLOADS
    parsed.load = parsed.load or LOADS
    all_of_them = subjects()
    try:
        compared = [all_of_them[name] for name in selected(parsed.only, all_of_them)]
        workloads = workloads_from(parsed)
        check(parsed.json, parsed.html)
    except (ChoiceError, RecordError) as error:
        print(error, file=sys.stderr)
        return 2
    return take("peers", arguments, parsed, compared, workloads, all_of_them[REFERENCE])


def subjects() -> dict[str, Subject]:
    """The servers by name, in the order of the tables."""
    return {peer.name: _subject(Warm(peer)) for peer in for_study([], [])}


def _subject(peer: Peer) -> Subject:
    return Subject(peer.name, lambda _workload: peer, peer.hands_over)


def selected(beginnings: Sequence[str], names: Collection[str]) -> list[str]:
    """The names that begin so, all without any beginning; ChoiceError when nobody's does."""
    for beginning in beginnings:
        if not any(name.startswith(beginning) for name in names):
            raise ChoiceError(
                f"--only {beginning}: no peer's name starts so; the peers are {', '.join(names)}"
            )
    return [name for name in names if not beginnings or name.startswith(tuple(beginnings))]
