"""Made-up studies that look like real ones, the awkward ones too.

Every figure is drawn from a seed, so that a study is the same each time it is made.
"""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

from benchmarks.study.record import Cell, Sample, Study
from benchmarks.study.workloads import WORKLOADS, Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

POLICIES = (
    "round-robin",
    "least-connections",
    "p2c",
    "random",
    "updown",
    "source-hash",
    "first",
    "weighted",
    "shared",
    "reuseport",
)
LOADS = (0.5, 0.7, 0.9)
MACHINE: dict[str, str | int] = {
    "cpu": "Imagined CPU @ 3.00GHz",
    "cores": 8,
    "memory_mb": 16000,
    "kernel": "6.8.0-made-up",
    "python": "3.11.9",
    "node": "v20.11.1",
    "nginx": "not found",
}

_UNEVEN = {"first": 4.0, "shared": 1.6, "random": 0.35, "reuseport": 0.5, "source-hash": 0.6}
"""How steeply a policy's connections fall off by worker."""
_SLOWNESS = {
    "round-robin": 1.4,
    "least-connections": 1.0,
    "p2c": 1.15,
    "random": 3.1,
    "updown": 1.05,
    "source-hash": 3.9,
    "first": 6.5,
    "weighted": 1.45,
    "shared": 1.3,
    "reuseport": 3.4,
}
_PERCENTS = [
    *(float(percent) for percent in range(100)),
    *(99 + step / 20 for step in range(1, 18)),
    *(99.9 + step / 200 for step in range(20)),
    100.0,
]


def policies(
    subjects: Sequence[str] = POLICIES,
    workloads: Sequence[str] = tuple(WORKLOADS),
    loads: Sequence[float] = LOADS,
    *,
    rounds: int = 3,
    workers: int = 4,
    seed: int = 1,
    better: float = 1.0,
) -> Study:
    """A full study: every cell has its samples; ``better`` divides the latencies."""
    random = Random(seed)
    study = Study(
        "policies",
        "2026-11-22T14:05:00+00:00",
        ["python", "-m", "benchmarks", "policies", "--workers", str(workers), "--json", "A.json"],
        dict(MACHINE),
        {"workers": workers, "seconds": 5.0, "rounds": rounds},
        capacities={name: 740.0 + 11 * len(name) for name in workloads},
        ceiling=9_400.0,
        seconds=1834.0,
    )
    for workload in workloads:
        for load in loads:
            for subject in subjects:
                samples = [
                    _sample(random, subject, workload, load, workers, better) for _ in range(rounds)
                ]
                study.cells.append(Cell(subject, workload, load, samples))
    return study


def peers() -> Study:
    """Servers that users would pick instead, of which one isn't installed."""
    subjects = ("balancer", "node cluster", "uvicorn", "gunicorn", "granian", "hypercorn")
    study = policies(subjects, ("uniform", "blocked-worker"), (0.7,), rounds=3)
    study.kind = "peers"
    for workload in ("uniform", "blocked-worker"):
        missing = Cell("haproxy", workload, 0.7, missing="haproxy is not on PATH")
        study.cells.append(missing)
    return study


def awkward() -> Study:
    """Missing, saturated, unanswered and single samples, and a Ctrl-C in the end."""
    study = policies(POLICIES[:5], ("uniform", "blocked-worker"), (0.7,), rounds=2)
    study.interrupted = True
    study.notes = ["uniform at 90 % was lowered to 85 %: the generator's ceiling"]
    cells = {(cell.subject, cell.workload): cell for cell in study.cells}
    gone = cells["p2c", "uniform"]
    gone.samples, gone.missing = [], "p2c <refused> to start & left"
    cells["random", "uniform"].samples[0] = _with(
        cells["random", "uniform"].samples[0], saturated="p99 of the lag was 41 ms"
    )
    cells["updown", "uniform"].samples[:] = [
        _with(cells["updown", "uniform"].samples[0], answered=0)
    ]
    del cells["round-robin", "uniform"].samples[1:]
    cells["least-connections", "blocked-worker"].samples[:] = [
        _with(sample, errors={"timeout": 200, "reset": 3})
        for sample in cells["least-connections", "blocked-worker"].samples
    ]
    study.cells.pop()
    return study


def many_workers(workers: int = 1000) -> Study:
    """A simulation of a large machine, with the cost of its picks."""
    study = policies(("round-robin", "p2c", "first"), ("uniform",), (0.7,), workers=workers)
    study.kind = "simulate"
    study.ceiling = None
    study.picks = picks()
    return study


def picks(subjects: Sequence[str] = POLICIES[:8]) -> dict[str, list[tuple[int, float]]]:
    """Some are constant, some logarithmic, source-hash is linear."""
    sizes = (2, 8, 32, 128, 512, 2048, 10_000)
    return {
        name: [(n, (3 + place) * 1e-7 + _growth(name, n)) for n in sizes]
        for place, name in enumerate(subjects)
    }


def _growth(name: str, members: int) -> float:
    if name == "source-hash":
        return 0.4e-6 * members
    return math.log2(members) / 5e6 if name == "least-connections" else 0.0


def _with(sample: Sample, **changes: object) -> Sample:
    if changes.get("answered") == 0:
        nothing: dict[str, object] = {"percentiles": [], "mean": 0.0, "throughput": 0.0}
        changes = {**changes, **nothing, "errors": {"timeout": sample.answered}}
        changes["connections"] = changes["requests"] = [0] * len(sample.connections)
    fields = {name: getattr(sample, name) for name in Sample.__slots__}
    return Sample(**{**fields, **changes})


def _sample(
    random: Random, subject: str, workload: str, load: float, workers: int, better: float
) -> Sample:
    about = WORKLOADS[workload]
    base = max(about.service.mean, 0.0004) / better
    slow = _SLOWNESS.get(subject, 1.2 + len(subject) / 10) * random.uniform(0.93, 1.07)
    queue = load / (1 - load) * slow
    stall = _stall(subject, about.trouble, about.severity) / better
    rate = 740 * load
    points = [(at, _latency(at, base, queue, stall, load)) for at in _PERCENTS]
    answered = round(rate * 5 * random.uniform(0.98, 1.02))
    connections = _counts(random, subject, workers, answered)
    return Sample(
        rate,
        answered / 5,
        answered,
        {"timeout": 2} if stall > 1.5 else {},
        points,
        base * (1 + queue),
        connections,
        [count - count // 40 * (rank % 2) for rank, count in enumerate(connections)],
        None if subject in {"shared", "reuseport"} else round(stall * 9),
        None if subject in {"shared", "reuseport"} else queue / 3,
        None if subject in {"shared", "reuseport"} else round(queue * 4),
        None if subject in {"shared", "reuseport"} else 42e-6 * random.uniform(0.9, 1.1),
        210e-6 * random.uniform(0.9, 1.1),
        0.0006,
    )


def _stall(subject: str, trouble: Trouble, severity: float) -> float:
    caught = subject in {"shared", "reuseport", "source-hash", "node cluster", "uvicorn"}
    if trouble in {Trouble.BLOCKED, Trouble.STOPPED}:
        return severity if caught else 0.18
    return severity * 0.02 if trouble is Trouble.SLOW else 0.0


def _latency(percent: float, base: float, queue: float, stall: float, load: float) -> float:
    odds = 1 / max(1 - percent / 100, 1e-4)
    waiting = base * queue * 0.55 * math.log(odds)
    caught = stall * max(0.0, 1 - 1 / (odds * 0.03 * (1 + load))) if stall else 0.0
    return base * 1.05 + waiting + caught


def _counts(random: Random, subject: str, workers: int, total: int) -> list[int]:
    steep = _UNEVEN.get(subject, 0.03)
    parts = [
        math.exp(-steep * rank * 4 / workers) * random.uniform(1, 1.02) for rank in range(workers)
    ]
    scale = total / sum(parts)
    return sorted((round(part * scale) for part in parts), reverse=True)
