"""``python -m benchmarks simulate``: the options, the order, and what becomes of the results."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.peers.base import MissingPeerError
from benchmarks.process import ProcessError
from benchmarks.report.console import console
from benchmarks.report.finish import check, finish
from benchmarks.simulate import cells, picks, show, subjects, validate
from benchmarks.simulate.reality import Reality, RealityError, compare
from benchmarks.simulate.setup import SECONDS, capacity
from benchmarks.study.begin import begin
from benchmarks.study.choice import ChoiceError, workloads
from benchmarks.study.record import RecordError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.simulate.cells import Visit
    from benchmarks.study.record import Study
    from benchmarks.study.workloads import Workload

__all__ = ["main"]


@final
@dataclass(frozen=True, slots=True)
class _Chosen:
    """The command line, understood."""

    policies: list[str]
    workloads: list[Workload]
    parsed: argparse.Namespace

    @property
    def workers(self) -> int:
        """What a cell's number of workers isn't named for."""
        wanted: list[int] = self.parsed.workers
        return wanted[0] if wanted else cells.USUAL


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, 1 when theory or reality isn't met or nothing can be written, 2 usage."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    try:
        chosen = _Chosen(subjects.policies(parsed.policy), workloads(parsed.workload), parsed)
        check(parsed.json, parsed.html)
    except (ChoiceError, RecordError) as error:
        print(error, file=sys.stderr)
        return 2
    if parsed.validate:
        return _validate(console())
    if parsed.reality:
        return _reality(console(), Reality(duration=parsed.duration, seed=parsed.seed))
    study = _study(chosen, arguments)
    with _bar() as bar:
        _fill(study, chosen, bar)
    return finish(study, parsed.json, parsed.html)


# -- the options ------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks simulate",
        description="the real scheduler and policies in a simulated server",
    )
    add = parser.add_argument
    add("--policy", action="append", default=[], metavar="NAME", help="only this (repeatable)")
    add("--workload", action="append", default=[], metavar="NAME", help="only this (repeatable)")
    add("--workers", type=_counts, default=[], metavar="N,…",
        help="default: 4, and 100 and 1,000 with the first workload")  # fmt: skip
    add("--connections", type=_count, default=100_000, metavar="N",
        help="requests of a cell; default: 100,000")  # fmt: skip
    add("--load", type=_per_cent, default=0.7, metavar="PERCENT", help="of capacity; default: 70")
    add("--seed", type=int, default=1, help="of everything that is drawn; default: 1")
    add("--handoff", type=_seconds, default=SECONDS.handoff, metavar="SECONDS",
        help=f"until a sleeping worker has a connection; default: {SECONDS.handoff:g}")  # fmt: skip
    add("--kills", type=_seconds, default=0.0, metavar="RATE",
        help="workers killed a second; default: 0")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write the study there")
    add("--html", type=Path, metavar="FILE", help="write a report with plots there")
    add("--validate", action="store_true", help="compare with queueing theory (ten minutes)")
    add("--reality", action="store_true", help="compare with a real server on this machine")
    add("--duration", type=_seconds, default=Reality().duration, metavar="SECONDS",
        help=f"of a real run; default: {Reality().duration:g}")  # fmt: skip
    add("--picks", action="store_true", help="only the cost of a pick, by number of workers")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _counts(text: str) -> list[int]:
    return [_count(each) for each in text.split(",")]


def _per_cent(text: str) -> float:
    number = float(text)
    if not 0 < number < 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100 per cent")
    return number / 100


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is negative or endless")
    return number


# -- the study --------------------------------------------------------------------------------


def _study(chosen: _Chosen, arguments: Sequence[str]) -> Study:
    parsed = chosen.parsed
    settings = {
        "workers": chosen.workers,
        "connections": parsed.connections,
        "seed": parsed.seed,
        "handoff": parsed.handoff,
        "accept": SECONDS.accept,
        "ack": SECONDS.ack,
        "request": SECONDS.request,
        "kills": parsed.kills,
    }
    return begin("simulate", arguments, settings)


def _fill(study: Study, chosen: _Chosen, bar: Progress) -> None:
    """All cells, then the picks; Ctrl-C leaves what is finished."""
    began = monotonic()
    try:
        if not chosen.parsed.picks:
            _fill_cells(study, chosen, bar)
        _fill_picks(study, chosen, bar)
    except KeyboardInterrupt:
        study.interrupted = True
        study.notes.append("interrupted: what was finished by then is here")
    study.seconds = monotonic() - began


def _fill_cells(study: Study, chosen: _Chosen, bar: Progress) -> None:
    parsed = chosen.parsed
    visits = cells.plan(chosen.policies, chosen.workloads, parsed.workers, parsed.load)
    task = bar.add_task("", total=len(visits))
    for visit in visits:
        bar.update(task, description=f"{visit.workload.name}, {visit.policy}, {visit.workers:,}")
        _fill_cell(study, chosen, visit)
        bar.advance(task)
    bar.remove_task(task)


def _fill_cell(study: Study, chosen: _Chosen, visit: Visit) -> None:
    parsed = chosen.parsed
    costs = replace(SECONDS, handoff=parsed.handoff)
    setup = cells.setup_for(visit, parsed.connections, parsed.seed, costs, parsed.kills)
    cell, took = cells.run(visit, chosen.workers, setup)
    study.cells.append(cell)
    study.capacities[cell.workload] = capacity(visit.workload, visit.workers, costs)
    if setup.count >= _MANY:
        study.notes.append(
            f"{visit.policy}, {cell.workload}: {visit.workers:,} workers and {setup.count:,} "
            f"connections took {took * setup.count:.0f} s of CPU to simulate, "
            f"{took * 1e6:.1f} µs each"
        )


_MANY = 1_000_000
"""Connections from which on it is told how long they took."""


def _fill_picks(study: Study, chosen: _Chosen, bar: Progress) -> None:
    task = bar.add_task("", total=len(chosen.policies))
    for policy in chosen.policies:
        bar.update(task, description=f"cost of a pick: {policy}")
        if found := list(picks.costs(policy)):
            study.picks[policy] = found
        bar.advance(task)
    bar.remove_task(task)


# -- theory and reality -----------------------------------------------------------------------


def _validate(out: Console) -> int:
    found: list[validate.Row] = []
    with _bar() as bar:
        task = bar.add_task("", total=None)
        try:
            for row in validate.rows():
                found.append(row)
                bar.update(task, description=f"{row.what}: {row.off:+.2%}")
        except KeyboardInterrupt:
            out.print(show.rows(found))
            return 130
    out.print(show.rows(found))
    return 0 if all(row.passed for row in found) else 1


def _reality(out: Console, reality: Reality) -> int:
    out.print(
        f"{reality.workers} workers, {reality.workload.what}, {reality.load:.0%} load: "
        f"{reality.rate:.0f} requests/s for {reality.duration:g} s"
    )
    try:
        found = list(compare(reality))
    except KeyboardInterrupt:
        return 130
    except (MissingPeerError, ProcessError, RealityError) as error:
        print(f"--reality: {error}", file=sys.stderr)
        return 1
    out.print(show.pairs(found))
    return 0 if all(pair.passed for pair in found) else 1


def _bar() -> Progress:
    return Progress(
        BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn(),
        TextColumn("{task.description}"), console=Console(stderr=True, highlight=False),
        transient=True,
    )  # fmt: skip
