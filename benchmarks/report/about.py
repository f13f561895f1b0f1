"""What stands above and below every report, whatever it is drawn with."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import TYPE_CHECKING

from benchmarks.report import units
from benchmarks.study.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.report.figures import Figures
    from benchmarks.study.record import Study

__all__ = ["command", "failures", "machine", "reasons", "remarks", "title", "what", "when"]

_KINDS = {
    "policies": "Scheduling policies, measured",
    "peers": "balancer and its peers, measured",
    "simulate": "Scheduling policies, simulated",
}


def title(study: Study) -> str:
    return _KINDS.get(study.kind, study.kind)


def when(study: Study) -> str:
    """`22 November 2026, 14:05 UTC, took 12 min`."""
    try:
        begun = datetime.fromisoformat(study.started)
    except ValueError:
        return study.started
    zone = begun.tzname() or ""
    took = f", took {_minutes(study.seconds)}" if study.seconds else ""
    return f"{begun.day} {begun:%B %Y, %H:%M} {zone}".rstrip() + took


def _minutes(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def machine(study: Study) -> str:
    """One line: CPU, cores, memory, kernel, Python."""
    known = study.machine
    memory = known.get("memory_mb")
    parts = (
        known.get("cpu"),
        f"{known['cores']} cores" if "cores" in known else None,
        f"{int(memory) / 1024:.1f} GiB" if isinstance(memory, int) else None,
        f"Linux {known['kernel']}" if "kernel" in known else None,
        f"Python {known['python']}" if "python" in known else None,
    )
    return ", ".join(str(part) for part in parts if part) or "unknown machine"


def command(study: Study) -> str:
    """What repeats the study, to be pasted into a shell."""
    return shlex.join(study.command)


def settings(study: Study) -> str:
    """What it was asked for, and what the generator could bring."""
    said = [f"{name.replace('_', ' ')} {value}" for name, value in study.settings.items()]
    if study.ceiling is not None:
        said.append(f"the generator's ceiling {units.rate(study.ceiling)}/s on new connections")
    return ", ".join(said)


def what(workload: str) -> str:
    """The sentence of a workload; empty where this program has no such workload."""
    known = WORKLOADS.get(workload)
    return known.what if known is not None else ""


def reasons(cells: Iterable[Figures | None]) -> list[tuple[str, str]]:
    """(subject, why it is missing), each once: who isn't installed is missing everywhere."""
    found = dict.fromkeys(
        (cell.subject, cell.missing) for cell in cells if cell is not None and cell.missing
    )
    return list(found)


def failures(cells: Iterable[Figures | None]) -> list[tuple[str, str]]:
    """(subject, workload and load, why), of cells that measured the generator."""
    return [
        (
            f"{cell.subject}, {cell.workload}, {units.load(cell.load)}",
            cell.saturated.removesuffix(", so this measured the generator"),
        )
        for cell in cells
        if cell is not None and cell.saturated
    ]


def remarks(study: Study) -> list[str]:
    """What a reader must know before they believe the figures."""
    found = list(study.notes)
    if study.interrupted and not any("interrupted" in note for note in found):
        found.insert(0, "The run was interrupted: what follows is what it had by then.")
    if not study.cells and not study.picks:
        found.append("Nothing was measured.")
    return found
