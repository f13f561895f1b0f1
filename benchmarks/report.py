"""Tables and JSON out of results: medians, spreads, and ratios paired within each round."""

from __future__ import annotations

import json
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import machine

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.runner import Metric, Results, Sample


def values(samples: list[Sample | None], key: str) -> list[float]:
    """What the samples have for one metric, in the order of the rounds."""
    return [sample[key] for sample in samples if sample is not None and key in sample]


def paired_ratios(
    subject: list[Sample | None], other: list[Sample | None], key: str
) -> list[float]:
    """subject ÷ other for every round in which both have the figure."""
    return [
        ours[key] / theirs[key]
        for ours, theirs in zip(subject, other, strict=False)
        if ours is not None and theirs is not None and ours.get(key) and theirs.get(key)
    ]


def render(results: Results, about: dict[str, object]) -> str:
    """The whole report as text; the first peer with samples is the subject of the ratios."""
    options = results.options
    title = (
        f"{results.benchmark}: {options.rounds} rounds, {options.duration:g} s per measurement, "
        f"{options.workers} workers; median (min … max)"
    )
    lines = [
        title,
        machine.headline(about),
        "",
        *_table(_figure_rows(results)),
    ]
    ratios = _ratio_rows(results)
    if len(ratios) > 1:
        lines += ["", "ratios, paired per round: median (min … max)", *_table(ratios)]
    if results.interrupted:
        lines += ["", "interrupted: fewer rounds than asked for"]
    return "\n".join(lines)


def _figure_rows(results: Results) -> list[list[str]]:
    metrics = results.metrics
    rows = [["", *(metric.title for metric in metrics)]]
    for name, samples in results.samples.items():
        cells = []
        for metric in metrics:
            left_out = metric.of_master and name in results.without_master
            cells.append("–" if left_out else _spread(values(samples, metric.key), metric))
        rows.append([name, *cells])
    rows += [[name, f"not measured: {why}"] for name, why in results.missing.items()]
    return rows


def _ratio_rows(results: Results) -> list[list[str]]:
    compared = [metric for metric in results.metrics if not metric.is_count]
    rows = [["", *(metric.title for metric in compared)]]
    names = list(results.samples)
    for other in names[1:]:
        cells = []
        for metric in compared:
            left_out = metric.of_master and other in results.without_master
            ratios = paired_ratios(results.samples[names[0]], results.samples[other], metric.key)
            cells.append("–" if left_out else _ratio_spread(ratios))
        rows.append([f"{names[0]} ÷ {other}", *cells])
    return rows


def _spread(found: list[float], metric: Metric) -> str:
    if not found:
        return "–"
    numbers = [value * metric.scale for value in found]
    middle, low, high = (
        f"{n:,.{metric.digits}f}" for n in (median(numbers), min(numbers), max(numbers))
    )
    return f"{middle} ({low} … {high})"


def _ratio_spread(ratios: list[float]) -> str:
    if not ratios:
        return "–"
    return f"{median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f})"


def _table(rows: list[list[str]]) -> list[str]:
    widths = [0] * max(map(len, rows))
    for row in rows:
        # A row that only says why it is empty must not widen the columns.
        for column, cell in enumerate(row if len(row) > 2 else row[:1]):
            widths[column] = max(widths[column], len(cell))
    return [
        "  ".join(cell.ljust(widths[column]) for column, cell in enumerate(row)).rstrip()
        for row in rows
    ]


def as_json(results: Results, about: dict[str, object]) -> dict[str, object]:
    """Every sample as it was measured (base units), the medians and the paired ratios."""
    names = list(results.samples)
    keys = [metric.key for metric in results.metrics]
    return {
        "benchmark": results.benchmark,
        "machine": about,
        "options": asdict(results.options),
        "interrupted": results.interrupted,
        "metrics": [asdict(metric) for metric in results.metrics],
        "samples": results.samples,
        "missing": results.missing,
        "medians": {
            name: {key: median(found) for key in keys if (found := values(samples, key))}
            for name, samples in results.samples.items()
        },
        "ratios": {
            other: {
                key: paired
                for key in keys
                if (paired := paired_ratios(results.samples[names[0]], results.samples[other], key))
            }
            for other in names[1:]
        },
    }


def write_json(path: Path, results: Results, about: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(results, about), indent=1, ensure_ascii=False) + "\n")
