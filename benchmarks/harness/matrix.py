"""A run over all cells: servers up, ceiling, capacities, then round after round.

``run_matrix`` is what both commands, ``policies`` and ``peers``, are made of.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, final

from benchmarks.generator.ceiling import SHARE, ceiling
from benchmarks.generator.pool import GeneratorError, Pool
from benchmarks.harness.capacity import alike, capacity, doubt
from benchmarks.harness.cell import measure
from benchmarks.harness.plan import Options, Subject, Visit, expected, plan
from benchmarks.harness.servers import Servers
from benchmarks.loads import LoadError
from benchmarks.peers.base import MissingPeerError
from benchmarks.study.record import Cell
from benchmarks.study.workloads import Clients

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from benchmarks.harness.progress import Progress
    from benchmarks.study.record import Study
    from benchmarks.study.workloads import Workload

__all__ = ["Options", "Subject", "Visit", "plan", "run_matrix", "settings", "total"]

_CAPACITY = 1.3  # seconds that it takes to measure one
_TROUBLES = (MissingPeerError, LoadError, GeneratorError)


def settings(options: Options) -> dict[str, str | int | float | bool]:
    """The options as a study keeps them."""
    return {
        "workers": options.workers,
        "rounds": options.rounds,
        "duration": options.duration,
        "warm_up": options.warm_up,
        "generator_processes": options.processes,
        "timeout": options.timeout,
        "seed": options.seed,
    }


def total(visits: Sequence[Visit], options: Options) -> float:
    """About how many seconds a run takes."""
    workloads = {visit.workload.name for visit in visits}
    return sum(expected(visit, options) for visit in visits) + _CAPACITY * (len(workloads) + 2)


def run_matrix(
    study: Study,
    subjects: Sequence[Subject],
    workloads: Sequence[Workload],
    loads: Sequence[float],
    options: Options,
    progress: Progress,
    reference: Subject | None = None,
) -> None:
    """Fill the study's cells.

    Args:
        study: One that has begun.
        subjects: In the order in which the tables shall show them.
        workloads: Rows of ``benchmarks.study.workloads``.
        loads: Shares of the workload's capacity.
        options: How often and how long.
        progress: What is told meanwhile.
        reference: Of whom capacities are taken, so that all get the same load; default: the first.

    A server that doesn't start is cells with ``missing``.  Ctrl-C ends the run, and what was
    finished is kept (``study.interrupted``).
    """
    began = monotonic()
    cells = {
        (one.name, workload.name, load): Cell(one.name, workload.name, load)
        for workload in workloads
        for load in loads
        for one in subjects
    }
    study.cells += cells.values()
    try:
        with Servers(options.workers) as servers, Pool() as pool:
            run = _Run(study, cells, options, progress, servers, pool)
            run.prepare(subjects, workloads, reference or subjects[0])
            run.visit_all(plan(subjects, workloads, loads, options.rounds, options.seed))
    except KeyboardInterrupt:
        study.interrupted = True
        study.notes.append("interrupted: the cells have what was finished until then")
    study.seconds = round(monotonic() - began, 1)
    for cell in study.cells:
        if not cell.samples and not cell.missing:
            cell.missing = "the run ended before it was measured"


@final
class _Run:
    """What one run needs to remember; the servers and the generator are its caller's."""

    def __init__(
        self,
        study: Study,
        cells: dict[tuple[str, str, float], Cell],
        options: Options,
        progress: Progress,
        servers: Servers,
        pool: Pool,
    ) -> None:
        self._study, self._cells, self._options = study, cells, options
        self._progress, self._servers, self._pool = progress, servers, pool
        self._most: dict[bool, float] = {}
        """Requests a second that are offered at most, by whether each has a new connection."""

    def prepare(
        self, subjects: Sequence[Subject], workloads: Sequence[Workload], reference: Subject
    ) -> None:
        """Start everybody, and measure what the loads are shares of."""
        self._progress.step("starting servers")
        peers = [one.make(workload) for one in (reference, *subjects) for workload in workloads]
        self._servers.start(peers)
        for name, why in self._servers.missing.items():
            self._say(f"{name}: {why.splitlines()[0]}")
        self._study.settings["capacities_of"] = reference.name
        self._progress.step("ceiling of the generator")
        # On new connections in any case: the study tells it.
        new_ones = ceiling(self._pool, Clients.EACH_NEW, self._options.processes)
        self._study.ceiling = new_ones
        self._most[True] = new_ones * SHARE
        if any(workload.clients is not Clients.EACH_NEW for workload in workloads):
            self._most[False] = ceiling(self._pool, Clients.KEPT, self._options.processes) * SHARE
        found: dict[Hashable, float | None] = {}
        for workload in workloads:
            key = alike(workload)
            if key not in found:
                self._progress.step(f"{workload.name}: capacity")
                found[key] = self._capacity(workload, [reference, *subjects])
            if (capable := found[key]) is not None:
                self._study.capacities[workload.name] = capable

    def _capacity(self, workload: Workload, candidates: Sequence[Subject]) -> float | None:
        """By the first that can tell."""
        for one in candidates:
            try:
                server = self._servers.get(one.make(workload))
                found = capacity(server, workload, self._options, self._pool)
            except _TROUBLES:
                continue
            if doubtful := doubt(workload, found, self._options.workers):
                self._note(doubtful)
            return found
        return None

    def visit_all(self, visits: Sequence[Visit]) -> None:
        self._progress.expect(sum(expected(visit, self._options) for visit in visits))
        for visit in visits:
            began = monotonic()
            where = f"{visit.workload.name} at {visit.load:.0%}"
            self._progress.step(f"round {visit.round}, {where}: {visit.subject.name}")
            self._visit(visit)
            self._progress.done(expected(visit, self._options), monotonic() - began)

    def _visit(self, visit: Visit) -> None:
        cell = self._cells[visit.subject.name, visit.workload.name, visit.load]
        found = self._study.capacities.get(visit.workload.name)
        if found is None:
            cell.missing = "the capacity of the workload could not be measured"
            return
        try:
            server = self._servers.get(visit.subject.make(visit.workload))
            rate = self._rate(visit, found)
            cell.samples.append(measure(server, visit, rate, self._options, self._pool))
        except _TROUBLES as error:
            why = str(error)
            if cell.samples:
                self._note(f"{visit.subject.name}, {visit.workload.name}: {why.splitlines()[0]}")
            else:
                cell.missing = why
            return
        cell.missing = ""
        if why := cell.samples[-1].saturated:
            self._say(f"{visit.subject.name}, {visit.workload.name} at {visit.load:.0%}: {why}")

    def _rate(self, visit: Visit, found: float) -> float:
        wanted = visit.load * found
        most = self._most[visit.workload.clients is Clients.EACH_NEW]
        if wanted > most:
            note = (
                f"{visit.workload.name} at {visit.load:.0%}: {most:.0f} requests/s are offered and "
                f"not {wanted:.0f}, a quarter of what the generator can bring at most"
            )
            if note not in self._study.notes:
                self._note(note)
        return min(wanted, most)

    def _note(self, text: str) -> None:
        self._study.notes.append(text)
        self._say(text)

    def _say(self, text: str) -> None:
        self._progress.say(text)
