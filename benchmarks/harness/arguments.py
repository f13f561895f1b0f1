"""The options that ``policies`` and ``peers`` have in common."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness.plan import Options
from benchmarks.study.choice import workloads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.study.workloads import Workload

__all__ = ["add_options", "loads_from", "options_from", "workloads_from"]

LOADS = (0.5, 0.7, 0.9)
_QUICK = Options(rounds=1, duration=1.0, warm_up=0.15)
_QUICK_LOAD = 0.7


def add_options(
    parser: argparse.ArgumentParser,
    loads: Sequence[float] = LOADS,
    quick: str = "three workloads at 70 %%, one round of a second: under a minute",
) -> None:
    """Add them; their values are read by the functions below.

    ``loads`` are the usual ones, and ``quick`` says what is done when it must be.
    """
    usually = ", ".join(f"{load * 100:.0f}" for load in loads)
    whole, seconds = _positive(int), _positive(float)
    usual = Options()
    parser.add_argument(
        "--workload", action="append", default=[], metavar="NAME", help="only this (repeatable)"
    )
    parser.add_argument(
        "--load",
        action="append",
        type=_per_cent,
        default=[],
        metavar="PERCENT",
        help=f"of the workload's capacity (repeatable); default: {usually}",
    )
    parser.add_argument("--rounds", type=whole, help=f"default: {usual.rounds}")
    parser.add_argument(
        "--duration", type=seconds, metavar="SECONDS", help=f"per cell; default: {usual.duration:g}"
    )
    parser.add_argument("--workers", type=whole, help=f"default: {usual.workers}")
    parser.add_argument("--seed", type=int, help=f"of the arrivals; default: {usual.seed}")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=quick,
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the study there")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report with plots there")


def options_from(parsed: argparse.Namespace) -> Options:
    """What was said, and for the rest what is usual (or quick)."""
    usual = _QUICK if parsed.quick else Options()
    names = ("rounds", "duration", "workers", "seed")
    said = {name: value for name in names if (value := getattr(parsed, name)) is not None}
    return replace(usual, **said)


def workloads_from(parsed: argparse.Namespace) -> list[Workload]:
    """ChoiceError when there is no such workload."""
    rows = workloads(parsed.workload)
    return [row for row in rows if row.quick] if parsed.quick and not parsed.workload else rows


def loads_from(parsed: argparse.Namespace) -> list[float]:
    """Shares, rising."""
    if parsed.load:
        return sorted(set(parsed.load))
    return [_QUICK_LOAD] if parsed.quick else list(LOADS)


def _positive(kind: type[int | float]):  # type: ignore[no-untyped-def]  # noqa: ANN202
    def parse(text: str) -> float:
        number = kind(text)
        if not 0 < number < 1e6:
            raise argparse.ArgumentTypeError(f"{text} is not a positive number")
        return number

    parse.__name__ = "number"  # for argparse's own message
    return parse


def _per_cent(text: str) -> float:
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = 0
    if not 0 < number <= 200:
        raise argparse.ArgumentTypeError(f"{text}: a load is from 1 to 200 per cent")
    return number / 100
