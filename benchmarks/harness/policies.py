"""``python -m benchmarks policies``: every policy under every workload, on this machine.

Each policy is a ``balancer serve`` of its own with the same app and number of workers.  They are
those of balancer's table, so that a new one is compared without a line here.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from balancer.core.policy import KERNEL_POLICIES, POLICIES
from benchmarks.harness.arguments import add_options, options_from, workloads_from
from benchmarks.harness.plan import Subject
from benchmarks.harness.take import take
from benchmarks.peers.balancer import Balancer
from benchmarks.report.finish import check
from benchmarks.study.choice import ChoiceError, chosen
from benchmarks.study.record import RecordError
from benchmarks.study.workloads import Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.peers.base import Peer
    from benchmarks.study.workloads import Workload

__all__ = ["REFERENCE", "main", "subjects"]

REFERENCE = "round-robin"
"""The policy with which capacities are measured."""
_FAST = 10
"""The weight of a worker beside that of a slow one, which has 1."""


def main(arguments: Sequence[str]) -> int:
    """Exit codes: 0, 2 for a mistake in the arguments, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser("python -m benchmarks policies", description=__doc__)
    parser.add_argument(
        "--policy", action="append", default=[], metavar="NAME", help="only this (repeatable)"
    )
    add_options(parser)
    parsed = parser.parse_args(arguments)
    all_of_them = subjects(options_from(parsed).workers)
    try:
        names = chosen("--policy", "policies", parsed.policy, all_of_them)
        workloads = workloads_from(parsed)
        check(parsed.json, parsed.html)
    except (ChoiceError, RecordError) as error:
        print(error, file=sys.stderr)
        return 2
    compared = [all_of_them[name] for name in names]
    return take("policies", arguments, parsed, compared, workloads, all_of_them[REFERENCE])


def subjects(workers: int) -> dict[str, Subject]:
    """All policies by name: the master's, then the kernel's."""
    return {
        **{name: Subject(name, partial(_server, name, workers)) for name in POLICIES},
        **{
            name: Subject(name, partial(_server, name, workers), hands_over=False)
            for name in sorted(KERNEL_POLICIES, reverse=True)
        },
    }


def _server(policy: str, workers: int, workload: Workload) -> Peer:
    weights = _weights(policy, workers, workload)
    arguments = ["--policy", policy, *(("--worker-weights", weights) if weights else ())]
    return Balancer(arguments=arguments, with_app=True, variant=f"{policy} {weights}".rstrip())


def _weights(policy: str, workers: int, workload: Workload) -> str:
    """What a user would set who knows of the trouble (the last worker is slow); else nothing."""
    if policy != "weighted" or workload.trouble is not Trouble.SLOW:
        return ""
    return ",".join([*[str(_FAST)] * (workers - 1), "1"])
