"""What is measured, and in which order: pure, so that a run can be told of before it begins.

A round visits every cell once.  Within it the subjects of one workload at one load follow each
other directly, since they are what is compared, and whatever the machine does in these seconds it
does to all of them; their order is another one in every round, so that nobody always comes after
the same neighbour.  All of them get the same arrivals and the same service times: the seed is the
round's and the cell's, not the subject's.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, final

from benchmarks.study.workloads import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.peers.base import Peer
    from benchmarks.study.workloads import Workload

__all__ = ["Options", "Subject", "Visit", "expected", "plan", "seed_for"]

_AROUND = 0.2
"""Seconds a cell takes beside its load: the generator's start, and the last answers."""


@final
@dataclass(frozen=True, slots=True)
class Subject:
    """What is compared: a policy, or another server.

    ``make`` gives the server for a workload.  Those that it names alike (``Peer.name``) are one
    server, which stays up for the whole run.
    """

    name: str
    make: Callable[[Workload], Peer]
    hands_over: bool = True
    """A master hands over every connection, so its CPU per connection is a figure."""


@final
@dataclass(frozen=True, slots=True)
class Options:
    """How it is measured; times are in seconds."""

    rounds: int = 3
    duration: float = 1.5
    """Of the load of one cell in one round, without the warm-up."""
    warm_up: float = 0.3
    workers: int = 4
    processes: int = 2
    """Of the generator."""
    timeout: float = 10.0
    """After the end of the load: what has no answer then is an error."""
    seed: int = 1


@final
@dataclass(frozen=True, slots=True)
class Visit:
    """One measurement that is to be taken: the cell, and its round (from 1)."""

    round: int
    workload: Workload
    load: float
    subject: Subject
    seed: int


def plan(
    subjects: Sequence[Subject], workloads: Sequence[Workload], loads: Sequence[float], rounds: int,
    seed: int,
) -> list[Visit]:  # fmt: skip
    """Every cell once in every round; the order within a block depends on the seed alone."""
    visits = []
    for number in range(1, rounds + 1):
        for workload in workloads:
            for load in loads:
                its_own = seed_for(seed, number, workload.name, load)
                order = Random(its_own).sample(subjects, len(subjects))
                visits += [Visit(number, workload, load, one, its_own) for one in order]
    return visits


def seed_for(seed: int, number: int, workload: str, load: float) -> int:
    """The seed of all subjects' arrivals in one round of a workload at a load."""
    return zlib.crc32(f"{seed} {number} {workload} {load:g}".encode())


def expected(visit: Visit, options: Options) -> float:
    """About how many seconds a visit takes.

    Who is stuck at the end of the load is waited for: half of the time that a trouble would leave
    him stuck, since some policies let nobody wait so long.
    """
    workload = visit.workload
    lasting = workload.trouble in {Trouble.BLOCKED, Trouble.STOPPED}
    rest = max(0.0, workload.severity - options.duration) if lasting else 0.0
    return options.warm_up + options.duration + _AROUND + rest / 2
