"""What a study has found: cells of subject × workload × load, in a form that is kept as JSON.

The real runs (``policies``, ``peers``) and the simulated ones write the same records, so that one
report shows either, and any two can be compared.  Times are in seconds, rates per second.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, final

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Cell", "RecordError", "Sample", "Study", "check_writable", "load", "save"]

VERSION = 1


class RecordError(Exception):
    """A file is no record of a study; the message is a sentence that says why."""


@final
@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one cell."""

    offered: float
    """Requests a second that were due."""
    throughput: float
    """Requests a second that were answered."""
    answered: int
    errors: dict[str, int]
    """Requests that weren't answered with 200, by reason."""
    percentiles: list[tuple[float, float]]
    """(per cent, seconds), rising: 0 to 100, dense enough for a curve, p50 p90 p99 p99.9 exact to
    the histogram's three digits.  Latency runs from when a request was due to its last byte."""
    mean: float
    connections: list[int]
    """New connections by worker, most first; workers that had none are zeros."""
    requests: list[int]
    """Answers by worker, in the same order."""
    recalls: int | None = None
    """Connections taken back from blocked workers; None where nobody counts them."""
    queue_mean: float | None = None
    """Connections that waited in the master, looked at several times a second."""
    queue_max: int | None = None
    master_cpu: float | None = None
    """Seconds of CPU of the process that hands over, per connection."""
    cpu: float | None = None
    """Seconds of CPU of all processes of the server, per request."""
    lag: float = 0.0
    """p99 of how late the generator itself sent (its own error, which is in every latency)."""
    saturated: str = ""
    """Why this measured the generator and not the server; empty: it didn't."""

    def percentile(self, percent: float) -> float:
        """The latency at a percentage, from the curve; 0.0 without an answer."""
        for known, seconds in self.percentiles:
            if known >= percent:
                return seconds
        return self.percentiles[-1][1] if self.percentiles else 0.0


@final
@dataclass(slots=True)
class Cell:
    """One subject (a policy, a peer, a simulated policy) under one workload at one load."""

    subject: str
    workload: str
    load: float
    """Share of the workload's capacity, from 0 to 1."""
    samples: list[Sample] = field(default_factory=list)
    missing: str = ""
    """Why there is no sample."""


@final
@dataclass(slots=True)
class Study:
    """A run of the harness or the simulation."""

    kind: str
    """policies, peers or simulate."""
    started: str
    """ISO 8601, with the zone."""
    command: list[str]
    machine: dict[str, str | int]
    settings: dict[str, str | int | float | bool]
    """Workers, seconds per cell, rounds…, as used."""
    cells: list[Cell] = field(default_factory=list)
    capacities: dict[str, float] = field(default_factory=dict)
    """Requests a second by workload, as measured (or computed, where simulated)."""
    ceiling: float | None = None
    """Requests a second on new connections that the generator can bring at most."""
    notes: list[str] = field(default_factory=list)
    """What a reader must know: interrupted, a load that had to be lowered…"""
    interrupted: bool = False
    seconds: float = 0.0
    """The duration of the whole run."""
    picks: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Cost of a pick by policy: (members, seconds)."""
    version: int = VERSION


def save(study: Study, path: Path) -> None:
    """Write a study, a line for each cell; OSError as from any write."""
    lines = b",\n".join(msgspec.json.encode(cell) for cell in study.cells)
    whole = msgspec.json.encode(replace(study, cells=[]))
    # No text in it can contain this: its quotation marks would be escaped.
    path.write_bytes(whole.replace(b'"cells":[]', b'"cells":[\n%b\n]' % lines, 1) + b"\n")


def check_writable(flag: str, path: Path | None) -> None:
    """RecordError, a sentence, where a file can't be written: half an hour later is too late."""
    if path is None:
        return
    if path.is_dir():
        raise RecordError(f"{flag} {path}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise RecordError(f"{flag} {path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise RecordError(f"{flag} {path}: can't be written: permission denied")


def load(path: Path) -> Study:
    """Read a study; RecordError: it can't be read, or is none."""
    try:
        study = msgspec.json.decode(path.read_bytes(), type=Study)
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is no study of this program: {error}") from error
    if study.version != VERSION:
        raise RecordError(
            f"{path} has version {study.version} of the format and this program reads {VERSION}: "
            "take the run again"
        )
    return study
