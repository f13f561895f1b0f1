"""Tables and JSON out of results: medians, spreads, and ratios paired within each round."""

from __future__ import annotations

import json
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.compare import View, differences, judge, ratios

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.compare import Added, Ceiling
    from benchmarks.runner import Metric, Results, Sample

_PLAIN = View()


def values(samples: list[Sample | None], key: str) -> list[float]:
    """What the samples have for one metric, in the order of the rounds."""
    return [sample[key] for sample in samples if sample is not None and key in sample]


def render(results: Results, about: dict[str, object], view: View = _PLAIN) -> str:
    """The whole report as text; the first peer with samples is the subject of the ratios."""
    options = results.options
    what = view.what or f"{options.duration:g} s per measurement"
    title = (
        f"{results.benchmark}: {options.rounds} rounds, {what}, "
        f"{options.workers} workers; median (min … max)"
    )
    lines = [title, machine.headline(about)]
    groups = dict.fromkeys(metric.group for metric in results.metrics)
    for number, group in enumerate(groups):
        # Who is missing is missing in every table; the first one says why.
        rows = _figure_rows(results, group, view) + ([] if number else _missing_rows(results))
        lines += ["", *([f"{group}:"] if group else []), *_table(rows)]
    ratios_of_first = _ratio_rows(results) if view.ratios else []
    if len(ratios_of_first) > 1:
        lines += ["", "ratios, paired per round: median (min … max)", *_table(ratios_of_first)]
    if view.shares:
        title = "requests per worker, the busiest first; a column per round"
        lines += ["", f"{title}:", *_table(_share_rows(results, view.shares))]
    if view.added is not None:
        lines += ["", f"{view.added.title}:", *_table(_added_rows(results, view.added))]
    if view.floors:
        lines += [
            "",
            "floors, by the median of the paired ratios:",
            *_table(_floor_rows(results, view)),
        ]
    if view.ceilings:
        lines += ["", "limits, by the median:", *_table(_ceiling_rows(results, view.ceilings))]
    if results.interrupted:
        lines += ["", "interrupted: fewer rounds than asked for"]
    return "\n".join(lines)


def _figure_rows(results: Results, group: str, view: View) -> list[list[str]]:
    metrics = [metric for metric in results.metrics if metric.group == group]
    rows = [["", *(metric.title for metric in metrics), *(f"÷ {ref}" for ref in view.references)]]
    for name, samples in results.samples.items():
        cells = []
        for metric in metrics:
            left_out = metric.of_master and name in results.without_master
            cells.append("–" if left_out else _spread(values(samples, metric.key), metric))
        for reference in view.references:
            paired = ratios(results, name, reference, metrics[0].key)
            cells.append("1" if name == reference else _ratio_spread(paired))
        rows.append([name, *cells])
    return rows


def _missing_rows(results: Results) -> list[list[str]]:
    return [[name, f"not measured: {_brief(why)}"] for name, why in results.missing.items()]


def _brief(why: str) -> str:
    """The sentence, and the last line of the log that comes with it; the JSON has all of it."""
    first, *log = why.splitlines()
    last = log[-1].strip().removeprefix("|").strip() if log else ""
    return f"{first}: {last}" if last else first


def _share_rows(results: Results, shares: tuple[str, ...]) -> list[list[str]]:
    rows = [[""]]
    for name, samples in results.samples.items():
        cells = []
        for sample in samples:
            counts = [sample[key] for key in shares] if sample is not None else []
            cells.append("/".join(f"{count:.0f}" for count in counts) or "–")
        # An empty cell at the end: rows of two are reasons, which don't widen the columns.
        rows.append([name, *cells, ""])
    return rows[1:]


def _floor_rows(results: Results, view: View) -> list[list[str]]:
    titles = {metric.key: metric.title for metric in results.metrics}
    rows = []
    for verdict in judge(results, view.floors):
        floor = verdict.floor
        wanted = f"≥ {floor.floor:g}" + (f" (goal {floor.goal:g})" if floor.goal else "")
        pair = f"{floor.subject} ÷ {floor.other}"
        found = _ratio_spread(list(verdict.ratios))
        rows.append([titles[floor.key], pair, wanted, found, verdict.words])
    return rows


def _added_rows(results: Results, added: Added) -> list[list[str]]:
    metrics = [metric for metric in results.metrics if metric.key in added.keys]
    rows = [["", *(metric.title for metric in metrics)]]
    for name in results.samples:
        if name != added.baseline:
            found = [differences(results, name, added.baseline, m.key) for m in metrics]
            rows.append([name, *map(_spread, found, metrics)])
    return rows


def _ceiling_rows(results: Results, ceilings: tuple[Ceiling, ...]) -> list[list[str]]:
    metrics = {metric.key: metric for metric in results.metrics}
    rows = []
    for ceiling in ceilings:
        metric = metrics[ceiling.key]
        found = values(results.samples.get(ceiling.subject, []), ceiling.key)
        met = "met" if found and median(found) <= ceiling.most else "missed"
        most = f"≤ {ceiling.most * metric.scale:g}"
        words = met if found else "not measured"
        rows.append([metric.title, ceiling.subject, most, _spread(found, metric), words])
    return rows


def _ratio_rows(results: Results) -> list[list[str]]:
    compared = [metric for metric in results.metrics if not metric.is_count]
    rows = [["", *(metric.title for metric in compared)]]
    names = list(results.samples)
    for other in names[1:]:
        cells = []
        for metric in compared:
            left_out = metric.of_master and other in results.without_master
            paired = ratios(results, names[0], other, metric.key)
            cells.append("–" if left_out else _ratio_spread(paired))
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


def _ratio_spread(paired: list[float]) -> str:
    if not paired:
        return "–"
    return f"{median(paired):.2f} ({min(paired):.2f} … {max(paired):.2f})"


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


def as_json(results: Results, about: dict[str, object], view: View = _PLAIN) -> dict[str, object]:
    """Every sample as it was measured (base units), the medians, the paired ratios, the floors."""
    names = list(results.samples)
    keys = [metric.key for metric in results.metrics]
    form: dict[str, object] = {
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
                key: paired for key in keys if (paired := ratios(results, names[0], other, key))
            }
            for other in names[1:]
        },
    }
    if view.floors:
        form["floors"] = [
            {**asdict(verdict), "words": verdict.words} for verdict in judge(results, view.floors)
        ]
    if view.added is not None:
        form["added"] = {
            name: {
                key: differences(results, name, view.added.baseline, key) for key in view.added.keys
            }
            for name in names
            if name != view.added.baseline
        }
    if view.ceilings:
        form["ceilings"] = [asdict(ceiling) for ceiling in view.ceilings]
    return form


def write_json(path: Path, results: Results, about: dict[str, object], view: View = _PLAIN) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    form = as_json(results, about, view)
    path.write_text(json.dumps(form, indent=1, ensure_ascii=False) + "\n")
